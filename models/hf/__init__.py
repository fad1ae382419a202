"""Grounders that transformers has: its submodules and weights, with the forward pass split in three."""
