"""GLIP (arXiv 2112.03857) in plain PyTorch: its published checkpoints, read and run without extensions."""
