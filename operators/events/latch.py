"""Small states of rules: what holds, on which side of a line a track is, what was told lately."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from groundstream.operators.events.event import Sighting
from groundstream.operators.events.geometry import meets
from groundstream.operators.events.zones import CountLine, Direction, Point

#: So much may be missing from a time: sums of frame times are not exact.
TOLERANCE_S = 1e-6


class Latch:
    """A yes or no that follows its input only when that has held for some seconds.

    Attributes:
        on: what holds now.
        since_s: media time from which the input has held it.
    """

    def __init__(self) -> None:
        self.on = False
        self.since_s = float("-inf")
        self._other_since_s: float | None = None

    @property
    def steady(self) -> bool:
        """True while the input is what `on` says."""
        return self._other_since_s is None

    def update(self, value: bool, now_s: float, settle_s: float) -> bool:
        """Take the input at `now_s`; return whether `on` has just changed."""
        if value == self.on:
            self._other_since_s = None
            return False
        if self._other_since_s is None:
            self._other_since_s = now_s
        if now_s - self._other_since_s < settle_s - TOLERANCE_S:
            return False
        # Dated back: the change is told once it is sure, but it was when the input turned.
        self.on, self.since_s, self._other_since_s = value, self._other_since_s, None
        return True


@dataclass(frozen=True)
class _Crossing:
    """A track on a side that is not yet its own; `told` where the way there met the line."""

    side: Direction
    first: Sighting
    told: bool


class LineWatch:
    """On which side of a line a track is.

    The side is the track's own once it has kept it for some seconds, the first one too: a first box on the
    wrong side is no crossing. A way around the line's ends changes the side without a crossing.
    """

    def __init__(self) -> None:
        self._side: Direction | None = None
        self._other: _Crossing | None = None
        self._last: Point | None = None

    def update(
        self, line: CountLine, point: Point, distance: float, seen: Sighting, settle_s: float
    ) -> tuple[Direction, Sighting] | None:
        """Take where a track stands now; return a crossing that has just become sure.

        Args:
            line: the line, the same in all calls.
            point: where the track stands, (x, y) in parts of the picture.
            distance: of `point` from the line as `zones.distances` gives it.
            seen: the track now.
            settle_s: so long a side must be kept.

        Returns:
            The direction, and the sighting in which the track was first on the new side.
        """
        if distance == 0:  # on the line: whoever trembles there has left no side and reached none
            return None
        side: Direction = "right" if distance > 0 else "left"
        last, self._last = self._last, point
        if side == self._side:
            self._other = None
            return None
        if self._other is None or self._other.side != side:
            # Whether the line itself was met is decided at the step over it; later steps are on one side.
            self._other = _Crossing(side, seen, last is not None and meets(line, last, point))
        if seen.time_s - self._other.first.time_s < settle_s - TOLERANCE_S:
            return None
        crossing, had_side = self._other, self._side is not None
        self._side, self._other = side, None
        return (side, crossing.first) if had_side and crossing.told else None


class Cooldowns:
    """What was told so lately that it is not told again."""

    def __init__(self, cooldown_s: float) -> None:
        self._cooldown_s = cooldown_s
        self._until_s: dict[Hashable, float] = {}

    def allow(self, key: Hashable, now_s: float) -> bool:
        """Tell whether `key` may be told at `now_s`, and take it as told if so."""
        if self._cooldown_s == 0:
            return True
        if now_s < self._until_s.get(key, now_s):
            return False
        # What is over is forgotten, so that as much is kept as is told within a cooldown.
        self._until_s = {each: until_s for each, until_s in self._until_s.items() if until_s > now_s}
        self._until_s[key] = now_s + self._cooldown_s
        return True

    def shift(self, by_s: float) -> None:
        """Go over to a clock that shows `by_s` more."""
        self._until_s = {key: until_s + by_s for key, until_s in self._until_s.items()}
