"""GLIP's losses, for training on its own terms; the open branch of glip-nano borrows from them."""
