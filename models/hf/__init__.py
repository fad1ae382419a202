"""Grounders that transformers has: its submodules and weights, with the forward pass split in three.

Text once per prompt, pictures once per frame, then grounding: the split is what streams need, and what
transformers' own forward does not offer. `models.registry` says which class is for which `model_type`.
"""
