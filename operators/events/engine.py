"""Turns the tracks of one stream into events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import supervision as sv

from groundstream.operators.events.event import Event, Sighting
from groundstream.operators.events.geometry import distances, inside, standing_points
from groundstream.operators.events.latch import TOLERANCE_S, Cooldowns, Latch
from groundstream.operators.events.messages import OpenEvent
from groundstream.operators.events.rules import CountRule, StreamRules
from groundstream.operators.events.track import Seen, TrackRules
from groundstream.operators.frames import Frame, FrameResult

#: A track of which there is neither a box nor a guess for so many seconds is gone. Longer than a change is
#: waited for: a track that answers to no phrase for a moment gives no row either.
GONE_S = 1.0
NEW_EPOCH = "the source was connected anew"
CLOCK_BACK = "the media clock went back"


class RuleUpdate(NamedTuple):
    """What a frame brought: messages in the order in which they are to be told, and each object's zones."""

    events: tuple[Event, ...]
    zones: tuple[tuple[str, ...], ...]


class RuleEngine:
    """Follows the rules of one stream, frame by frame.

    Only confirmed tracks count. A lost one neither moves nor leaves until it is gone: there is nothing of it
    for `GONE_S`. Where the media clock starts anew or goes back, all that is open
    ends truncated and tracks begin anew. What is kept is bounded by the tracks that live.

    Args:
        stream_id: the stream's name in every event.
        rules: what is told.
    """

    def __init__(self, stream_id: str, rules: StreamRules) -> None:
        self._stream_id, self._rules = stream_id, rules
        self._cooldowns = Cooldowns(rules.cooldown_s)
        self._tracks: dict[str, TrackRules] = {}
        self._counts = self._new_counts()
        self._epoch, self._now_s = 0, 0.0

    def update(self, result: FrameResult) -> RuleUpdate:
        """Take the result of the next frame; a stale one changes nothing.

        Zones of each object are also written into `result.detections.data["zones"]`, an array of tuples of
        names, from where records take them: the settled zones, as events tell them.
        """
        if result.stale:
            return RuleUpdate((), ())
        frame, events = result.frame, list(self._clock(result.frame))
        found = result.detections
        for seen in self._seen(frame, found):
            if seen.uid not in self._tracks:
                self._tracks[seen.uid] = TrackRules(self._stream_id, self._rules, self._cooldowns)
            events += self._tracks[seen.uid].see(seen)
        events += self._gone(found)
        for count in self._counts:
            number = sum(track.counts_for(count.rule) for track in self._tracks.values())
            events += count.update(number, frame, self._rules, self._cooldowns)
        return RuleUpdate(tuple(events), self._mark(found))

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
            self._cooldowns.shift(frame.time_s - self._now_s)
        self._epoch, self._now_s = frame.epoch, frame.time_s
        return ended

    def _seen(self, frame: Frame, found: sv.Detections) -> Iterator[Seen]:
        """Yield the confirmed objects of a frame, with where they stand."""
        data: Any = found.data
        rows = np.flatnonzero(np.asarray(data["state"]) == "confirmed") if len(found) else np.zeros(0, int)
        if not len(rows):
            return
        assert found.confidence is not None
        boxes = np.asarray(found.xyxy, np.float64)[rows]
        parts = boxes / (frame.width, frame.height, frame.width, frame.height)
        points = standing_points(parts)
        held = np.array([inside(zone.polygon, points) for zone in self._rules.zones]).T.tolist()
        away = np.array([distances(line, points) for line in self._rules.lines]).T.tolist()
        empty: list[list[Any]] = [[]] * len(rows)
        columns = zip(
            rows.tolist(),
            boxes.tolist(),
            parts.tolist(),
            points.tolist(),
            held or empty,
            away or empty,
            strict=True,
        )
        for row, box, box_norm, point, in_zones, from_lines in columns:
            uid = str(data["track_uid"][row])
            sighting = _sighting(
                frame,
                track_id=uid,
                phrase=str(data["phrase"][row]),
                score=float(found.confidence[row]),
                box=tuple(box),
                box_norm=tuple(box_norm),
            )
            yield Seen(uid, sighting, tuple(point), in_zones, from_lines)

    def _gone(self, found: sv.Detections) -> Iterator[Event]:
        """Yield what is to be told of tracks that are gone, and forget them."""
        data: Any = found.data
        for uid in data["track_uid"].tolist() if len(found) else []:
            if uid in self._tracks:
                self._tracks[uid].present_s = self._now_s
        patience_s = max(GONE_S, self._rules.settle_s) - TOLERANCE_S
        gone = [uid for uid, track in self._tracks.items() if self._now_s - track.present_s >= patience_s]
        for uid in gone:
            yield from self._tracks.pop(uid).gone()

    def _mark(self, found: sv.Detections) -> tuple[tuple[str, ...], ...]:
        """Write the zones of each object into the detections, and return them."""
        data: Any = found.data
        uids = data["track_uid"].tolist() if len(found) else []
        zones = tuple(self._tracks[uid].zones if uid in self._tracks else () for uid in uids)
        column = np.empty(len(zones), object)
        for row, names in enumerate(zones):  # at once, numpy would take tuples of one length for a table
            column[row] = names
        found.data["zones"] = column
        return zones


class CountWatch:
    """Follows one count."""

    def __init__(self, stream_id: str, rule: CountRule) -> None:
        self.rule = rule
        self._stream_id = stream_id
        self._latch = Latch()
        self._open: OpenEvent | None = None

    def update(self, number: int, frame: Frame, rules: StreamRules, cooldowns: Cooldowns) -> Iterator[Event]:
        """Take the number in a frame; yield what is to be told."""
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
            if told := self._open.see(now, values):
                yield told
        elif changed and self._latch.on and self._may_tell(rules, cooldowns):
            self._open = OpenEvent(self._stream_id, "count", self.rule.name, since_s, now)
            yield self._open.begin(values)

    def _may_tell(self, rules: StreamRules, cooldowns: Cooldowns) -> bool:
        return "count" in rules.told and cooldowns.allow(("count", self.rule.name), self._latch.since_s)

    def truncate(self, at_s: float, reason: str) -> Iterator[Event]:
        """Yield the end of the event that is open, before its time."""
        if self._open is not None:
            yield self._open.truncate(at_s, reason)
            self._open = None


def _sighting(frame: Frame, **what: Any) -> Sighting:
    """Return a state in `frame`; that of no track unless `what` says more."""
    nobody: dict[str, Any] = {"track_id": None, "phrase": "", "score": 0.0, "box": None, "box_norm": None}
    return Sighting(frame.epoch, frame.seq, frame.time_s, frame.wall_time, **(nobody | what))
