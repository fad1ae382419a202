"""From phrases to a model's text features, once: `cache.py` says which caches a phrase passes, in order.

`cache` (`TextCache`, `CachedTextEncoder`) and `codec` (features as bytes) import torch and are not
re-exported; the stores know bytes alone.
"""

from groundstream.operators.text.stores import HandedTexts, StoreError, TextStore, open_text_store

__all__ = ["HandedTexts", "StoreError", "TextStore", "open_text_store"]
