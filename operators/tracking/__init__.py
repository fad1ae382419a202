"""From a frame's candidates to tracks with phrases: merge overlapping boxes, match them, name them.

`association.PhraseTracker.update` is the whole of it, and the place where boxes return to frame pixels.
"""

from groundstream.operators.tracking.association import PhraseTracker
from groundstream.operators.tracking.phrases import PhraseMemory, PhraseRule
from groundstream.operators.tracking.tracker import Tracker

__all__ = ["PhraseMemory", "PhraseRule", "PhraseTracker", "Tracker"]
