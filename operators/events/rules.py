"""What is an event in a stream: zones, lines, counts and rules as values, checked when they are made.

Coordinates are parts of the picture's width and height, 0..1 from the top left corner, so that zones survive
a change of the picture's size. `track` asks what meets them. Nothing heavy is imported here (no numpy, no
PyAV): configurations are made of these values.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple, get_args

from groundstream.operators.events.event import EventKind

Point = tuple[float, float]
Direction = Literal["left", "right"]
#: So near to a line (in parts of the picture) a point is on neither side: boxes that stand still tremble.
ON_LINE = 0.002
_LEAST_AREA = 1e-6  # of the picture: one pixel of a megapixel
CooldownScope = Literal["track", "phrase"]
#: Tables of rules whose rows are told apart by their names.
TABLES = ("zones", "lines", "counts")


class KindOfEvent(NamedTuple):
    """A kind of event: what it needs in words, and whether the rules have it."""

    needs: str
    is_there: Callable[[StreamRules], bool]


_KINDS: dict[EventKind, KindOfEvent] = {
    "appear": KindOfEvent("nothing", lambda rules: True),
    "disappear": KindOfEvent("nothing", lambda rules: True),
    "zone_enter": KindOfEvent("a zone", lambda rules: bool(rules.zones)),
    "zone_exit": KindOfEvent("a zone", lambda rules: bool(rules.zones)),
    "line_cross": KindOfEvent("a line", lambda rules: bool(rules.lines)),
    "dwell": KindOfEvent(
        "a zone with dwell_s", lambda rules: any(zone.dwell_s is not None for zone in rules.zones)
    ),
    "count": KindOfEvent("a count", lambda rules: bool(rules.counts)),
}
#: Kinds that rules make; `recording` is emitted by those who record.
RULE_KINDS = tuple(_KINDS)


@dataclass(frozen=True)
class Zone:
    """An area of the picture.

    Attributes:
        name: what events and records call it; distinct among the zones and lines of a stream.
        polygon: its corners in order, at least 3, each (x, y) in 0..1; the last one joins the first.
        phrases: only objects with one of these phrases count; by default all do.
        score: an object counts once its smoothed score has reached this (0..1).
        dwell_s: a stay of this many seconds is a `dwell` event; by default there are none.

    Raises:
        ValueError: it is no area, or another value is out of its range.
    """

    name: str
    polygon: tuple[Point, ...]
    phrases: tuple[str, ...] = ()
    score: float | None = None
    dwell_s: float | None = None

    def __post_init__(self) -> None:
        what = f"zone {self.name!r}"
        check_filter(what, self.name, self.phrases, self.score)
        check_points(what, self.polygon)
        if len(self.polygon) < 3:
            raise ValueError(f"{what}: expected at least 3 corners, but got {len(self.polygon)}")
        if crossing := _crossing_sides(self.polygon):
            first, second = crossing
            raise ValueError(
                f"{what}: expected sides that do not meet, but side {first + 1} meets side {second + 1}; "
                "give the corners in the order in which one walks around the zone"
            )
        if self.dwell_s is not None and not self.dwell_s > 0:
            raise ValueError(f"{what}: expected dwell_s above 0 seconds, but got {self.dwell_s}")


@dataclass(frozen=True)
class CountLine:
    """A line in the picture that objects cross.

    Seen by somebody who stands at `start` and looks towards `end`, an object crosses to the `left` or to
    the `right`: a line from the left edge of the picture to the right one is crossed to the right by what
    moves down.

    Attributes:
        name: what events call it; distinct among the zones and lines of a stream.
        start: one end, (x, y) in 0..1.
        end: the other end.
        phrases: only objects with one of these phrases count; by default all do.
        score: an object counts once its smoothed score has reached this (0..1).
        direction: report only crossings in this direction; default: both.

    Raises:
        ValueError: the ends are one point, or another value is out of its range.
    """

    name: str
    start: Point
    end: Point
    phrases: tuple[str, ...] = ()
    score: float | None = None
    direction: Direction | None = None

    def __post_init__(self) -> None:
        what = f"line {self.name!r}"
        check_filter(what, self.name, self.phrases, self.score)
        check_points(what, (self.start, self.end))
        if math.dist(self.start, self.end) <= 2 * ON_LINE:
            raise ValueError(f"{what}: expected two ends apart, but got {self.start} and {self.end}")
        if self.direction not in (None, "left", "right"):
            raise ValueError(f"{what}: expected the direction left or right, but got {self.direction!r}")


@dataclass(frozen=True)
class CountRule:
    """A number of objects; an event is open while it is passed.

    Attributes:
        name: what events call it; distinct among the counts of a stream.
        above: the event lasts while more than this many objects are there.
        below: the event lasts while fewer than this many are there; give exactly one of the two.
        zone: name of the zone in which objects are counted; by default the whole picture.
        phrases: only objects with one of these phrases are counted; by default all are.
        score: an object is counted once its smoothed score has reached this (0..1).

    Raises:
        ValueError: a value is out of its range.
    """

    name: str
    above: int | None = None
    below: int | None = None
    zone: str | None = None
    phrases: tuple[str, ...] = ()
    score: float | None = None

    def __post_init__(self) -> None:
        what = f"count {self.name!r}"
        check_filter(what, self.name, self.phrases, self.score)
        if (self.above is None) == (self.below is None):
            raise ValueError(f"{what}: expected either above or below, but got {self.above} and {self.below}")
        if self.above is not None and self.above < 0:
            raise ValueError(f"{what}: expected above of at least 0, but got {self.above}")
        if self.below is not None and self.below < 1:
            raise ValueError(f"{what}: expected below of at least 1, but got {self.below}")

    def passed(self, number: int) -> bool:
        """Tell whether `number` passes it."""
        return number > self.above if self.above is not None else number < (self.below or 0)


@dataclass(frozen=True)
class StreamRules:
    """Everything that is an event in one stream.

    Attributes:
        zones: areas; objects enter, leave and stay in them.
        lines: lines that objects cross.
        counts: thresholds for numbers of objects.
        events: event kinds to emit. By default those that the configured zones, lines and counts can produce;
            `appear` if there are none.
        phrases: only objects with one of these phrases appear and disappear; by default all do.
        score: an object appears once its smoothed score has reached this (0..1).
        settle_s: a change counts once it has held this many seconds.
        cooldown_s: no second event of the same rule, kind and direction within this many seconds.
        cooldown_of: cool down per `track`, or per `phrase` whatever the track (alarms).

    Raises:
        ValueError: names repeat, a kind lacks what it needs, or a value is out of its range.
    """

    zones: tuple[Zone, ...] = ()
    lines: tuple[CountLine, ...] = ()
    counts: tuple[CountRule, ...] = ()
    events: tuple[EventKind, ...] | None = None
    phrases: tuple[str, ...] = ()
    score: float | None = None
    settle_s: float = 0.3
    cooldown_s: float = 0.0
    cooldown_of: CooldownScope = "track"

    def __post_init__(self) -> None:
        check_filter("the rules", "stream", self.phrases, self.score)
        _check_names(
            "zones and lines", [zone.name for zone in self.zones] + [line.name for line in self.lines]
        )
        _check_names("counts", [each.name for each in self.counts])
        if self.settle_s < 0 or self.cooldown_s < 0:
            raise ValueError(f"expected seconds of at least 0, but got {self.settle_s} and {self.cooldown_s}")
        if self.cooldown_of not in get_args(CooldownScope):
            raise ValueError(f"expected a cooldown of track or phrase, but got {self.cooldown_of!r}")
        self._check_counts()
        self._check_kinds()

    @property
    def emitted(self) -> frozenset[EventKind]:
        """The kinds of events that are emitted."""
        if self.events is not None:
            return frozenset(self.events)
        return frozenset(self._possible() - {"appear", "disappear"}) or frozenset({"appear"})

    def _possible(self) -> set[EventKind]:
        """Return the kinds that these zones, lines and counts can give."""
        return {kind for kind, about in _KINDS.items() if about.is_there(self)}

    def _check_counts(self) -> None:
        known = {zone.name for zone in self.zones}
        for count in self.counts:
            if count.zone is not None and count.zone not in known:
                there = ", ".join(sorted(known)) or "none"
                raise ValueError(
                    f"count {count.name!r}: no zone is called {count.zone!r}; there are: {there}"
                )

    def _check_kinds(self) -> None:
        for kind in self.events or ():
            if kind not in RULE_KINDS:
                raise ValueError(f"expected events of {', '.join(RULE_KINDS)}, but got {kind!r}")
            if kind not in self._possible():
                raise ValueError(
                    f"events of the kind {kind} need {_KINDS[kind].needs}; add one, or leave {kind} out"
                )


def check_filter(what: str, name: str, phrases: Sequence[str], score: float | None) -> None:
    """Refuse a name, phrases or a score that cannot be meant.

    Raises:
        ValueError: says what was given and what was expected.
    """
    if not name.strip():
        raise ValueError(f"{what}: the name is empty; events are told by it")
    if any(not phrase.strip() for phrase in phrases):
        raise ValueError(f"{what}: a phrase is empty; leave phrases out where all objects count")
    if score is not None and not 0 < score <= 1:
        raise ValueError(f"{what}: expected a score above 0 and up to 1, but got {score}")


def check_points(what: str, points: Iterable[Point]) -> None:
    """Refuse points outside the picture.

    Raises:
        ValueError: says which one.
    """
    for x, y in points:
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise ValueError(
                f"{what}: expected coordinates in 0..1 (parts of the picture's width and height), but got "
                f"({x}, {y})"
            )


def _crossing_sides(polygon: Sequence[Point]) -> tuple[int, int] | None:
    """Return two sides that meet where they should not; a side without length, or no area, meets itself."""
    count = len(polygon)
    sides = [(polygon[at], polygon[(at + 1) % count]) for at in range(count)]
    for at, (start, end) in enumerate(sides):
        if start == end:
            return at, at
    for first, second in combinations(range(count), 2):
        neighbours = second - first == 1 or (first == 0 and second == count - 1)
        if not neighbours and _touch(*sides[first], *sides[second]):
            return first, second
    area = abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in sides)) / 2  # the shoelace formula
    return (0, 1) if area < _LEAST_AREA else None


def _touch(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Tell whether the segments a-b and c-d have a point in common."""
    turns = [_turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)]
    if turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0:
        return True
    ends = [(a, b, c), (a, b, d), (c, d, a), (c, d, b)]
    return any(turn == 0 and _between(*end) for turn, end in zip(turns, ends, strict=True))


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _between(a: Point, b: Point, c: Point) -> bool:
    """Tell whether c, on the endless line through a and b, lies between them."""
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


def _check_names(what: str, names: list[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"expected {what} of different names, but {repeated[0]!r} is there more than once")
