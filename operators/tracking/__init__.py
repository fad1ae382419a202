"""From a frame's candidates to tracks with phrases: merge overlapping boxes, match them, name them.

`association.PhraseTracker.update` is the whole of it, and the place where boxes return to frame pixels.
`options` are names and defaults for a configuration; all other names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundstream.operators.tracking.options import TrackerName
from groundstream.operators.utils.lazy import lazy_names

if TYPE_CHECKING:
    from groundstream.operators.tracking.association import PhraseTracker
    from groundstream.operators.tracking.phrases import PhraseMemory, PhraseRule
    from groundstream.operators.tracking.tracker import Tracker

__all__ = ["PhraseMemory", "PhraseRule", "PhraseTracker", "Tracker", "TrackerName"]

_HOMES = {
    "PhraseMemory": ".phrases",
    "PhraseRule": ".phrases",
    "PhraseTracker": ".association",
    "Tracker": ".tracker",
}

__getattr__ = lazy_names(__name__, _HOMES)
