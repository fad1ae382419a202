"""Turns the tracks of one stream into events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from groundstream.operators.events.event import TOLERANCE_S, Event, OpenEvent, Sighting
from groundstream.operators.events.rules import CountRule, StreamRules
from groundstream.operators.events.track import (
    Cooldowns,
    Latch,
    PlacedObject,
    TrackRules,
    distances,
    inside,
    standing_points,
)
from groundstream.operators.frames import Frame, FrameResult, SeenObject

#: A track of which there is neither a box nor a guess for so many seconds is gone. Longer than a change is
#: waited for: a track that answers to no phrase for a moment gives no row either.
GONE_S = 1.0
NEW_EPOCH = "the source was connected anew"
CLOCK_BACK = "the media clock went back"
STREAM_ENDED = "the stream has ended"


class RuleUpdate(NamedTuple):
    """What a frame brought: messages in the order in which they are to be emitted.

    `result` is that of the frame, now with the zones of each object: the settled ones, as events have them.
    """

    events: tuple[Event, ...]
    result: FrameResult


class RuleEngine:
    """Follows the rules of one stream, frame by frame.

    Only confirmed tracks count. A lost one neither moves nor leaves until it is gone: there is nothing of it
    for `GONE_S`. Where the media clock starts anew or goes back, all that is open
    ends truncated and tracks begin anew. What is kept is bounded by the tracks that live. Call one
    method at a time, from any thread.

    Args:
        stream_id: the stream's name in every event.
        rules: what is emitted.
    """

    def __init__(self, stream_id: str, rules: StreamRules) -> None:
        self._stream_id, self._rules = stream_id, rules
        self._cooldowns = Cooldowns(rules.cooldown_s)
        self._tracks: dict[str, TrackRules] = {}
        self._counts = self._new_counts()
        self._epoch, self._now_s = 0, 0.0
        self._newest = self._over = 0  # epochs: of the last result, and the last that is over

    def update(self, result: FrameResult) -> RuleUpdate:
        """Take the result of the next frame; a stale one changes nothing."""
        self._newest = result.frame.epoch
        # What was on its way when the source was lost begins nothing: nobody would end it.
        if result.stale or self._newest <= self._over:
            return RuleUpdate((), result)
        frame, events = result.frame, list(self._clock(result.frame))
        for seen in self._seen(frame, result.objects):
            if seen.uid not in self._tracks:
                self._tracks[seen.uid] = TrackRules(self._stream_id, self._rules, self._cooldowns)
            events += self._tracks[seen.uid].see(seen)
        # Lost tracks are there, too, and nothing that is there is gone. Before counts, which count the rest.
        events += self._gone(result.objects)
        for count in self._counts:
            number = sum(track.counts_for(count.rule) for track in self._tracks.values())
            events += count.update(number, frame, self._rules, self._cooldowns)
        tracks = (self._tracks.get(seen.track_id) for seen in result.objects)
        zones = [() if track is None else track.zones for track in tracks]
        return RuleUpdate(tuple(events), result.with_zones(zones))

    def interrupt(self, reason: str) -> tuple[Event, ...]:
        """End what is open where the source is lost for now: its epoch is over, and tells nothing more."""
        self._over = self._newest
        return self.end(reason)

    def end(self, reason: str) -> tuple[Event, ...]:
        """Return the ends of all events that are open, truncated for `reason`; nothing is open then."""
        events = [event for each in self._tracks.values() for event in each.truncate(self._now_s, reason)]
        events += [event for each in self._counts for event in each.truncate(self._now_s, reason)]
        self._tracks.clear()
        self._counts = self._new_counts()
        return tuple(events)

    def _new_counts(self) -> list[CountWatch]:
        return [CountWatch(self._stream_id, rule) for rule in self._rules.counts]

    def _clock(self, frame: Frame) -> tuple[Event, ...]:
        """Go on to the frame's time; return what ends because it is on another clock."""
        ended: tuple[Event, ...] = ()
        same = frame.epoch == self._epoch
        if self._epoch and not (same and frame.time_s >= self._now_s):
            ended = self.end(CLOCK_BACK if same else NEW_EPOCH)
            # What was emitted a second ago was emitted a second ago by the new clock, too.
            self._cooldowns.shift(frame.time_s - self._now_s)
        self._epoch, self._now_s = frame.epoch, frame.time_s
        return ended

    def _seen(self, frame: Frame, objects: tuple[SeenObject, ...]) -> Iterator[PlacedObject]:
        """Yield the confirmed objects of a frame, with where they stand."""
        found = [seen for seen in objects if seen.state == "confirmed"]
        if not found:
            return
        boxes = np.array([seen.box for seen in found], np.float64)  # (N, 4)
        parts = boxes / (frame.width, frame.height, frame.width, frame.height)
        points = standing_points(parts)
        # All objects at once for each zone and line, then turned round: a row per object.
        held = np.array([inside(zone.polygon, points) for zone in self._rules.zones]).T.tolist()
        away = np.array([distances(line, points) for line in self._rules.lines]).T.tolist()
        empty: list[list[Any]] = [[]] * len(found)
        columns = zip(found, parts.tolist(), points.tolist(), held or empty, away or empty, strict=True)
        for seen, box_norm, point, in_zones, from_lines in columns:
            sighting = _sighting(
                frame,
                track_id=seen.track_id,
                phrase=seen.phrase,
                score=seen.score,
                box=seen.box,
                box_norm=tuple(box_norm),
            )
            yield PlacedObject(seen.track_id, sighting, tuple(point), in_zones, from_lines)

    def _gone(self, objects: tuple[SeenObject, ...]) -> Iterator[Event]:
        """Yield the messages of tracks that are gone, and forget them."""
        for seen in objects:
            if seen.track_id in self._tracks:
                self._tracks[seen.track_id].present_s = self._now_s
        patience_s = max(GONE_S, self._rules.settle_s) - TOLERANCE_S
        gone = [uid for uid, track in self._tracks.items() if self._now_s - track.present_s >= patience_s]
        for uid in gone:
            yield from self._tracks.pop(uid).gone()


class CountWatch:
    """Follows one count."""

    def __init__(self, stream_id: str, rule: CountRule) -> None:
        self.rule = rule
        self._stream_id = stream_id
        self._latch = Latch()
        self._open: OpenEvent | None = None

    def update(self, number: int, frame: Frame, rules: StreamRules, cooldowns: Cooldowns) -> Iterator[Event]:
        """Take the number in a frame; yield the messages that follow."""
        values = {"count": number}
        now = _sighting(
            frame,
            phrase=", ".join(self.rule.phrases),
            zones=() if self.rule.zone is None else (self.rule.zone,),
        )
        changed = self._latch.update(self.rule.passed(number), frame.time_s, rules.settle_s)
        since_s = self._latch.since_s
        if self._open is not None and changed:
            yield self._open.end(since_s, now, values)
            self._open = None
        elif self._open is not None and self._latch.steady:
            if update := self._open.see(now, values):
                yield update
        elif changed and self._latch.on and self._may_emit(rules, cooldowns):
            self._open = OpenEvent(self._stream_id, "count", self.rule.name, since_s, now)
            yield self._open.begin(values)

    def _may_emit(self, rules: StreamRules, cooldowns: Cooldowns) -> bool:
        return "count" in rules.emitted and cooldowns.allow(("count", self.rule.name), self._latch.since_s)

    def truncate(self, at_s: float, reason: str) -> Iterator[Event]:
        """Yield the end of the event that is open, before its time."""
        if self._open is not None:
            yield self._open.truncate(at_s, reason)
            self._open = None


def _sighting(frame: Frame, **what: Any) -> Sighting:
    """Return a state in `frame`; that of no track unless `what` says more."""
    nobody: dict[str, Any] = {"track_id": None, "phrase": "", "score": 0.0, "box": None, "box_norm": None}
    return Sighting(frame.epoch, frame.seq, frame.time_s, frame.wall_time, **(nobody | what))
