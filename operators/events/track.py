"""What the rules know of one track: where it stands, what has held for long enough, which events it makes.

From the bottom up: the geometry of zones and lines; small states (`Latch`: what holds, `LineWatch`: on which
side of a line, `Cooldowns`: what was emitted lately); and `TrackRules`, which has them for one track.

An object is where it stands: the middle of its box's lower edge, as in Frigate, for zones and lines alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundstream.operators.events.event import (
    NO_VALUES,
    TOLERANCE_S,
    Event,
    EventKind,
    OpenEvent,
    Sighting,
    Values,
    moment,
)
from groundstream.operators.events.rules import (
    ON_LINE,
    CountLine,
    CountRule,
    Direction,
    Point,
    StreamRules,
    Zone,
)

# A box that the picture cuts off stands on its very edge, and is inside a zone that reaches it.
_INSIDE = 1 - 1e-6


def standing_points(boxes_norm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where objects stand, (N, 2) in 0..1, for (N, 4) xyxy boxes in parts of the picture."""
    points = np.column_stack([(boxes_norm[:, 0] + boxes_norm[:, 2]) / 2, boxes_norm[:, 3]])
    return np.clip(points, 0.0, _INSIDE)


def inside(polygon: Sequence[Point], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell for each of (N, 2) points whether the polygon holds it, by counting the sides left of it.

    A point on a side that two polygons share is in exactly one of them. Source: the even-odd rule, Shimrat,
    "Algorithm 112: Position of point relative to polygon", CACM 5 (1962).
    """
    corners = np.asarray(polygon, np.float64)
    x1, y1 = corners.T  # (E,)
    x2, y2 = np.roll(corners, -1, axis=0).T
    x, y = points[:, :1], points[:, 1:]  # (N, 1)
    spans = (y1 > y) != (y2 > y)  # (N, E): sides that the horizontal through the point meets
    rise = np.where(y1 == y2, 1.0, y2 - y1)  # a level side spans nothing
    right_of_point = x < x1 + (y - y1) * (x2 - x1) / rise
    return np.asarray((spans & right_of_point).sum(axis=1) % 2 == 1)


def distances(line: CountLine, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (N,) distances of (N, 2) points from the endless line: above 0 on its right, else below.

    0 stands for everything nearer than `ON_LINE`.
    """
    along = np.subtract(line.end, line.start)
    away = points - np.asarray(line.start)
    signed = (along[0] * away[:, 1] - along[1] * away[:, 0]) / np.hypot(*along)
    return np.where(np.abs(signed) < ON_LINE, 0.0, signed)


def meets(line: CountLine, before: Point, after: Point) -> bool:
    """Tell whether the straight way from `before` to `after`, on different sides, meets the line itself."""
    (ax, ay), (bx, by) = line.start, line.end
    dx, dy = after[0] - before[0], after[1] - before[1]
    across = dx * (by - ay) - dy * (bx - ax)
    if across == 0:
        return False
    part = (dx * (before[1] - ay) - dy * (before[0] - ax)) / across
    return 0 <= part <= 1


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
        # Dated back: the change is reported once it is sure, but it was when the input turned.
        self.on, self.since_s, self._other_since_s = value, self._other_since_s, None
        return True


@dataclass(frozen=True)
class _Crossing:
    """A track on a side that is not yet its own; `met` where the way there met the line."""

    side: Direction
    first: Sighting
    met: bool


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
            distance: of `point` from the line as `distances` gives it.
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
        return (side, crossing.first) if had_side and crossing.met else None


class Cooldowns:
    """What was emitted so lately that it is not emitted again."""

    def __init__(self, cooldown_s: float) -> None:
        self._cooldown_s = cooldown_s
        self._until_s: dict[Hashable, float] = {}

    def allow(self, key: Hashable, now_s: float) -> bool:
        """Tell whether `key` may be emitted at `now_s`, and take it as emitted if so."""
        if self._cooldown_s == 0:
            return True
        if now_s < self._until_s.get(key, now_s):
            return False
        # What is over is forgotten, so that as much is kept as is emitted within a cooldown.
        self._until_s = {each: until_s for each, until_s in self._until_s.items() if until_s > now_s}
        self._until_s[key] = now_s + self._cooldown_s
        return True

    def shift(self, by_s: float) -> None:
        """Go over to a clock that shows `by_s` more."""
        self._until_s = {key: until_s + by_s for key, until_s in self._until_s.items()}


class PlacedObject(NamedTuple):
    """A confirmed object of a frame: its track, the state without its zones, and where it stands.

    `inside` tells for each zone of the rules whether it holds the object, `distances` how far it is from
    each line.
    """

    uid: str
    sighting: Sighting
    point: Point
    inside: Sequence[bool]
    distances: Sequence[float]


class Visit:
    """A track's stay in a zone, or out of it."""

    def __init__(self) -> None:
        self.latch = Latch()
        self.dwelt = False


class TrackRules:
    """Applies the rules to one track.

    Args:
        stream_id: where it is.
        rules: what is emitted.
        cooldowns: what was emitted lately of all tracks.

    Attributes:
        present_s: media time at which the track was last there, seen or lost.
        zones: names of the zones that hold it.
    """

    def __init__(self, stream_id: str, rules: StreamRules, cooldowns: Cooldowns) -> None:
        self._stream_id, self._rules = stream_id, rules
        by_track = rules.cooldown_of == "track"
        self._cooldowns = Cooldowns(rules.cooldown_s) if by_track else cooldowns
        self._there, self._shown = Latch(), Latch()
        self._visits = [Visit() for _ in rules.zones]
        self._watches = [LineWatch() for _ in rules.lines]
        self._open: dict[tuple[EventKind, str], OpenEvent] = {}
        self._phrase, self._best_score = "", 0.0
        self._last: Sighting | None = None
        self.present_s = float("-inf")
        self.zones: tuple[str, ...] = ()

    def see(self, seen: PlacedObject) -> Iterator[Event]:
        """Take what is seen of the track in a frame; yield the messages that follow."""
        time_s = seen.sighting.time_s
        self.present_s = time_s
        self._rate(seen.sighting)
        # All latches turn before anything is emitted: every message of this frame shows the same zones. When
        # each stay began is read before, for the turn overwrites it.
        began = [visit.latch.since_s for visit in self._visits]
        changed = [
            visit.latch.update(held and self._fits(zone), time_s, self._rules.settle_s)
            for (visit, zone), held in zip(self._pairs(), seen.inside, strict=True)
        ]
        self.zones = tuple(zone.name for visit, zone in self._pairs() if visit.latch.on)
        self._last = now = dataclasses.replace(seen.sighting, zones=self.zones)
        yield from self._see_picture(now)
        for (visit, zone), has_changed, since_s in zip(self._pairs(), changed, began, strict=True):
            if has_changed and visit.latch.on:
                yield from self._begin("zone_enter", zone.name, visit.latch.since_s, now)
            elif has_changed:
                yield from self._leave(visit, zone, visit.latch.since_s, since_s, "left")
            yield from self._stay(visit, zone, now)
        yield from self._cross(seen, now)
        yield from self._update(now)

    def gone(self) -> Iterator[Event]:
        """Yield the messages of a track that is there no more; it ended where it was last seen."""
        last = self._last
        if last is None:
            return
        for visit, zone in self._pairs():
            if visit.latch.on:
                yield from self._leave(visit, zone, last.time_s, visit.latch.since_s, "gone")
        if self._shown.on:
            yield from self._vanish(last.time_s)

    def truncate(self, at_s: float, reason: str) -> Iterator[Event]:
        """Yield the ends of all that is open, before its time."""
        for event in self._open.values():
            yield event.truncate(at_s, reason)
        self._open.clear()

    def counts_for(self, rule: CountRule) -> bool:
        """Tell whether the track is one of those that `rule` counts."""
        there = self._there.on if rule.zone is None else rule.zone in self.zones
        return there and self._fits(rule)

    def _rate(self, now: Sighting) -> None:
        """Keep the best score under the phrase of now: a filter that was passed stays passed."""
        # Of another phrase nothing counts: a "van" of 0.9 says nothing of a "dog" of 0.3.
        phrase = now.phrase.casefold()
        self._best_score = max(self._best_score, now.score) if phrase == self._phrase else now.score
        self._phrase = phrase

    def _pairs(self) -> Iterator[tuple[Visit, Zone]]:
        return zip(self._visits, self._rules.zones, strict=True)

    def _fits(self, wanted: Zone | CountLine | CountRule | StreamRules) -> bool:
        """Tell whether the track goes by a phrase, and has reached a score, that is `wanted`."""
        if wanted.score is not None and self._best_score < wanted.score:
            return False
        return not wanted.phrases or any(self._phrase == each.casefold() for each in wanted.phrases)

    def _see_picture(self, now: Sighting) -> Iterator[Event]:
        self._there.update(True, now.time_s, self._rules.settle_s)
        if not self._shown.update(self._fits(self._rules), now.time_s, self._rules.settle_s):
            return
        if self._shown.on:
            yield from self._begin("appear", "appear", self._shown.since_s, now)
        else:
            yield from self._vanish(self._shown.since_s)

    def _vanish(self, at_s: float) -> Iterator[Event]:
        assert self._last is not None
        yield from self._end("appear", "appear", at_s)
        yield from self._moment("disappear", "disappear", at_s, self._last)

    def _leave(self, visit: Visit, zone: Zone, at_s: float, entered_s: float, how: str) -> Iterator[Event]:
        assert self._last is not None
        values: Values = {"dwell_s": round(at_s - entered_s, 3), "how": how}
        visit.dwelt = False
        # From the inside out: a stay ends before the visit that it is part of.
        yield from self._end("dwell", zone.name, at_s, values)
        yield from self._end("zone_enter", zone.name, at_s, values)
        yield from self._moment("zone_exit", zone.name, at_s, self._last, values)

    def _stay(self, visit: Visit, zone: Zone, now: Sighting) -> Iterator[Event]:
        if zone.dwell_s is None or visit.dwelt or not (visit.latch.on and visit.latch.steady):
            return
        reached_s = visit.latch.since_s + zone.dwell_s
        if now.time_s >= reached_s - TOLERANCE_S:
            visit.dwelt = True
            yield from self._begin("dwell", zone.name, reached_s, now, self._values("dwell", zone.name, now))

    def _cross(self, seen: PlacedObject, now: Sighting) -> Iterator[Event]:
        lines = zip(self._rules.lines, self._watches, seen.distances, strict=True)
        for line, watch, distance in lines:
            crossing = watch.update(line, seen.point, distance, now, self._rules.settle_s)
            if crossing is None or line.direction not in (None, crossing[0]) or not self._fits(line):
                continue
            direction, first = crossing
            values: Values = {"direction": direction}
            yield from self._moment("line_cross", line.name, first.time_s, first, values)

    def _update(self, now: Sighting) -> Iterator[Event]:
        for (kind, rule), event in self._open.items():
            if update := event.see(now, self._values(kind, rule, now)):
                yield update

    def _values(self, kind: EventKind, rule: str, now: Sighting) -> Values:
        if kind != "dwell":
            return NO_VALUES
        since_s = next(visit.latch.since_s for visit, zone in self._pairs() if zone.name == rule)
        return {"dwell_s": round(now.time_s - since_s, 3)}

    def _begin(
        self, kind: EventKind, rule: str, start_s: float, now: Sighting, values: Values = NO_VALUES
    ) -> Iterator[Event]:
        if self._may_emit(kind, rule, start_s, now, values):
            event = self._open[kind, rule] = OpenEvent(self._stream_id, kind, rule, start_s, now)
            yield event.begin(values)

    def _end(self, kind: EventKind, rule: str, at_s: float, values: Values = NO_VALUES) -> Iterator[Event]:
        assert self._last is not None
        if event := self._open.pop((kind, rule), None):
            yield event.end(at_s, self._last, values)

    def _moment(
        self, kind: EventKind, rule: str, at_s: float, seen: Sighting, values: Values = NO_VALUES
    ) -> Iterator[Event]:
        if self._may_emit(kind, rule, at_s, seen, values):
            yield from moment(self._stream_id, kind, rule, at_s, seen, values)

    def _may_emit(
        self, kind: EventKind, rule: str, at_s: float, seen: Sighting, values: Mapping[str, object]
    ) -> bool:
        if kind not in self._rules.emitted:
            return False
        # Of one track the cooldowns are its own, see __init__; so its phrase need not be in the key.
        of = seen.phrase if self._rules.cooldown_of == "phrase" else ""
        return self._cooldowns.allow((kind, rule, values.get("direction"), of), at_s)
