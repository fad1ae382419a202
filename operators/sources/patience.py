"""How long a live stream may be silent before it counts as stalled."""

from __future__ import annotations

import statistics
from collections import deque

#: Silence that is borne while the frame rate is not known: connecting, first packet, first few frames.
START_S = 20.0
#: No camera is waited for longer than this unless the user says so.
CEILING_S = 60.0
_MEASURED_GAPS = 5
_REMEMBERED_GAPS = 100


class Patience:
    """Follows the distance of a camera's packets.

    The limit is ten median distances or three times the longest recent one, whichever is longer, between
    `floor_s` and 60 s: a camera of 25 frames a second is given up after two seconds of silence, one that
    sends a frame every five seconds after fifty, one whose network hiccups for a second after three.
    """

    def __init__(self, floor_s: float, fixed_s: float | None = None) -> None:
        """Take the lowest limit, and the user's own limit, which then always holds."""
        self._floor_s, self._fixed_s = floor_s, fixed_s
        self._gaps_s: deque[float] = deque(maxlen=_REMEMBERED_GAPS)

    def note_gap(self, gap_s: float) -> None:
        """Take the time between two packets into account."""
        self._gaps_s.append(gap_s)

    @property
    def limit_s(self) -> float:
        """Seconds of silence after which the stream counts as stalled."""
        if self._fixed_s is not None:
            return self._fixed_s
        gaps_s = tuple(self._gaps_s)  # the reading thread appends meanwhile
        if len(gaps_s) < _MEASURED_GAPS:
            return START_S
        wanted_s = max(self._floor_s, 10 * statistics.median(gaps_s), 3 * max(gaps_s))
        return min(wanted_s, CEILING_S)
