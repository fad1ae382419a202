"""What the rules know of one track, and what they tell of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from groundstream.operators.events.event import Event, EventKind, Sighting
from groundstream.operators.events.latch import TOLERANCE_S, Cooldowns, Latch, LineWatch
from groundstream.operators.events.messages import NO_VALUES, OpenEvent, Values, moment
from groundstream.operators.events.rules import CountRule, StreamRules
from groundstream.operators.events.zones import CountLine, Point, Zone


class Seen(NamedTuple):
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
        rules: what is told.
        cooldowns: what was told lately of all tracks.

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

    def see(self, seen: Seen) -> Iterator[Event]:
        """Take what is seen of the track in a frame; yield what is to be told."""
        time_s = seen.sighting.time_s
        self.present_s = time_s
        self._rate(seen.sighting)
        # All latches turn before anything is told: every message of this frame shows the same zones. When
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
        yield from self._tell_news(now)

    def gone(self) -> Iterator[Event]:
        """Yield what is to be told of a track that is there no more; it ended where it was last seen."""
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

    def _cross(self, seen: Seen, now: Sighting) -> Iterator[Event]:
        lines = zip(self._rules.lines, self._watches, seen.distances, strict=True)
        for line, watch, distance in lines:
            crossing = watch.update(line, seen.point, distance, now, self._rules.settle_s)
            if crossing is None or line.direction not in (None, crossing[0]) or not self._fits(line):
                continue
            direction, first = crossing
            values: Values = {"direction": direction}
            yield from self._moment("line_cross", line.name, first.time_s, first, values)

    def _tell_news(self, now: Sighting) -> Iterator[Event]:
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
        if self._may_tell(kind, rule, start_s, now, values):
            event = self._open[kind, rule] = OpenEvent(self._stream_id, kind, rule, start_s, now)
            yield event.begin(values)

    def _end(self, kind: EventKind, rule: str, at_s: float, values: Values = NO_VALUES) -> Iterator[Event]:
        assert self._last is not None
        if event := self._open.pop((kind, rule), None):
            yield event.end(at_s, self._last, values)

    def _moment(
        self, kind: EventKind, rule: str, at_s: float, seen: Sighting, values: Values = NO_VALUES
    ) -> Iterator[Event]:
        if self._may_tell(kind, rule, at_s, seen, values):
            yield from moment(self._stream_id, kind, rule, at_s, seen, values)

    def _may_tell(
        self, kind: EventKind, rule: str, at_s: float, seen: Sighting, values: Mapping[str, object]
    ) -> bool:
        if kind not in self._rules.told:
            return False
        # Of one track the cooldowns are its own, see __init__; so its phrase need not be in the key.
        of = seen.phrase if self._rules.cooldown_of == "phrase" else ""
        return self._cooldowns.allow((kind, rule, values.get("direction"), of), at_s)
