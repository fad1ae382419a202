"""What can be asked of tracking: names and defaults, light enough for a configuration to be made of them."""

from __future__ import annotations

from typing import Literal

TrackerName = Literal["bytetrack", "ocsort", "botsort"]

LOST_S = 1.0  # a track that no box matches is given up after this
SMOOTH_S = 0.5  # time constant of the mean over a phrase's scores
LIFE_S = 1.0  # a track keeps its phrase at least this long
