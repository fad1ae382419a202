"""From a frame's candidates to tracks with phrases: merge overlapping boxes, match them, name them.

`association.PhraseTracker.update` is the whole of it, and the place where boxes return to frame pixels.
`options` are names and defaults for a configuration; all other names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from groundstream.operators.tracking.options import TrackerName

if TYPE_CHECKING:
    from groundstream.operators.tracking.association import PhraseTracker
    from groundstream.operators.tracking.phrases import PhraseMemory, PhraseRule
    from groundstream.operators.tracking.tracker import Tracker

__all__ = ["PhraseMemory", "PhraseRule", "PhraseTracker", "Tracker", "TrackerName"]

_HOMES = {
    "PhraseMemory": "phrases",
    "PhraseRule": "phrases",
    "PhraseTracker": "association",
    "Tracker": "tracker",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
