"""GLIP (arXiv 2112.03857) in plain PyTorch: its published checkpoints, read and run without extensions.

`grounder.GlipGrounder` is what others use; `hub` finds a model file and loads no torch until it converts one.
"""
