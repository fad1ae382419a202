"""What is told of a stream: the values that rules are made of, checked when they are made."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

from groundstream.operators.events.event import EventKind
from groundstream.operators.events.zones import CountLine, Zone, check_filter

Cooled = Literal["track", "phrase"]

#: Kinds that rules make; `recording` is told by those who record.
RULE_KINDS: tuple[EventKind, ...] = tuple(kind for kind in get_args(EventKind) if kind != "recording")


@dataclass(frozen=True)
class CountRule:
    """A number of objects that is told while it is passed.

    Attributes:
        name: what events call it; distinct among the counts of a stream.
        above: told while more than so many are there.
        below: told while fewer than so many are there; exactly one of the two is given.
        zone: name of the zone that is counted; the whole picture where it is None.
        phrases: only objects that go by one of these are counted; all are where there are none.
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
        """Tell whether `number` is to be told."""
        return number > self.above if self.above is not None else number < (self.below or 0)


@dataclass(frozen=True)
class StreamRules:
    """Everything that is told of one stream.

    Attributes:
        zones: areas; objects enter, leave and stay in them.
        lines: what objects cross.
        counts: numbers of objects.
        events: the kinds that are told. None tells what the rest is for: entering and leaving of zones,
            stays, crossings, counts; and where there is none of these, what appears.
        phrases: only objects that go by one of these appear and disappear; all do where there are none.
        score: an object appears once its smoothed score has reached this (0..1).
        settle_s: a change is a change when it has held for so many seconds; what is shorter is a flicker.
        cooldown_s: no second event of a rule, kind and direction within so many seconds.
        cooldown_of: of the same `track`, or of the same `phrase` whatever the track (alarms).

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
    cooldown_of: Cooled = "track"

    def __post_init__(self) -> None:
        check_filter("the rules", "stream", self.phrases, self.score)
        _check_names(
            "zones and lines", [zone.name for zone in self.zones] + [line.name for line in self.lines]
        )
        _check_names("counts", [each.name for each in self.counts])
        if self.settle_s < 0 or self.cooldown_s < 0:
            raise ValueError(f"expected seconds of at least 0, but got {self.settle_s} and {self.cooldown_s}")
        if self.cooldown_of not in get_args(Cooled):
            raise ValueError(f"expected a cooldown of track or phrase, but got {self.cooldown_of!r}")
        self._check_counts()
        self._check_kinds()

    @property
    def told(self) -> frozenset[EventKind]:
        """The kinds that are told."""
        if self.events is not None:
            return frozenset(self.events)
        return frozenset(self._possible() - {"appear", "disappear"}) or frozenset({"appear"})

    def _possible(self) -> set[EventKind]:
        """Return the kinds that these zones, lines and counts can give."""
        kinds: set[EventKind] = {"appear", "disappear"}
        kinds |= {"zone_enter", "zone_exit"} if self.zones else set()
        kinds |= {"dwell"} if any(zone.dwell_s is not None for zone in self.zones) else set()
        kinds |= {"line_cross"} if self.lines else set()
        return kinds | ({"count"} if self.counts else set())

    def _check_counts(self) -> None:
        known = {zone.name for zone in self.zones}
        for count in self.counts:
            if count.zone is not None and count.zone not in known:
                there = ", ".join(sorted(known)) or "none"
                raise ValueError(
                    f"count {count.name!r}: no zone is called {count.zone!r}; there are: {there}"
                )

    def _check_kinds(self) -> None:
        needs = {
            "dwell": "a zone with dwell_s",
            "line_cross": "a line",
            "count": "a count",
            "zone_enter": "a zone",
            "zone_exit": "a zone",
        }
        for kind in self.events or ():
            if kind not in RULE_KINDS:
                raise ValueError(f"expected events of {', '.join(RULE_KINDS)}, but got {kind!r}")
            if kind not in self._possible():
                raise ValueError(
                    f"events of the kind {kind} need {needs[kind]}; add one, or leave {kind} out"
                )


def _check_names(what: str, names: list[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"expected {what} of different names, but {repeated[0]!r} is there more than once")
