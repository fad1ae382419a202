"""An event of a stream: its messages (`Event`: new, update, end), and the open event that makes them."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

EventKind = Literal[
    "appear", "disappear", "zone_enter", "zone_exit", "line_cross", "dwell", "count", "recording"
]
EventType = Literal["new", "update", "end"]
#: So much may be missing from a time: sums of frame times are not exact.
TOLERANCE_S = 1e-6
#: An event is updated at most once in so many seconds.
UPDATE_S = 1.0
_SCORE_STEP = 0.01  # a better best score is worth a message from this step on
Values = Mapping[str, str | float | int]
NO_VALUES: Values = {}


@dataclass(frozen=True)
class Sighting:
    """A track at one moment of an event, as `before` and `after` of the record show it.

    Attributes:
        epoch: the stream's epoch.
        seq: number of the frame.
        time_s: media clock in seconds.
        wall_time: seconds since 1970 (UTC).
        track_id: `stream:epoch:n`; None where the event is no track's (a count).
        phrase: the phrase that the track answers to.
        score: its smoothed score, 0..1.
        box: xyxy in frame pixels; None where there is no box.
        box_norm: the same as parts of the frame's width and height, 0..1.
        zones: names of the zones that hold it.
        values: what belongs to the kind: `direction` of a crossing, `dwell_s`, `count`.
    """

    epoch: int
    seq: int
    time_s: float
    wall_time: float
    track_id: str | None
    phrase: str
    score: float
    box: tuple[float, float, float, float] | None
    box_norm: tuple[float, float, float, float] | None
    zones: tuple[str, ...] = ()
    values: Mapping[str, str | float | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """One message about one event.

    Attributes:
        id: the same in all messages about this event; distinct over streams and runs.
        stream_id: the stream that it happened in.
        kind: what happened.
        type: `new` at its beginning, `update` when more is known, `end` when it is over.
        rule: name of the rule, zone or line that it comes from.
        before: the state in the message before; None in `new`.
        after: the state now.
        start_s: media time at which it began.
        end_s: media time at which it ended; None before `end`.
        best: the sighting with the highest score so far; None where there is no track.
        clip: file name of its clip, once there is one.
        truncated: why it ended before its time (the source failed, a new epoch, the run was stopped).
    """

    id: str
    stream_id: str
    kind: EventKind
    type: EventType
    rule: str
    before: Sighting | None
    after: Sighting
    start_s: float
    end_s: float | None = None
    best: Sighting | None = None
    clip: str | None = None
    truncated: str | None = None


class OpenEvent:
    """An event from its first message to its last.

    Args:
        stream_id: where it happens.
        kind: what happens.
        rule: name of the rule that it comes from.
        start_s: media time at which it began.
        seen: the state at its beginning.
    """

    def __init__(self, stream_id: str, kind: EventKind, rule: str, start_s: float, seen: Sighting) -> None:
        self.start_s = start_s
        self._id = new_id(seen.wall_time)
        self._stream_id, self._kind, self._rule = stream_id, kind, rule
        self._seen = seen
        self._best = seen if seen.box is not None else None
        self._sent: Sighting | None = None
        self._sent_score = 0.0

    def begin(self, values: Values = NO_VALUES) -> Event:
        """Return the first message."""
        return self._message("new", values)

    def see(self, seen: Sighting, values: Values = NO_VALUES) -> Event | None:
        """Take the state now; return a message where it has changed and the last one is old enough."""
        self._seen = seen
        if self._best is not None and seen.score > self._best.score:
            self._best = seen
        sent = self._sent
        assert sent is not None, "see before begin"
        # Compared with what was sent last, not seen last: slow changes add up.
        if seen.time_s - sent.time_s < UPDATE_S - TOLERANCE_S or not self._has_changed(sent, values):
            return None
        return self._message("update", values)

    def end(self, end_s: float, seen: Sighting, values: Values = NO_VALUES) -> Event:
        """Return the last message, of an event that is over."""
        self._seen = seen
        return self._message("end", values, end_s=max(end_s, self.start_s))

    def truncate(self, end_s: float, reason: str) -> Event:
        """Return the last message of an event that nobody can follow to its end, with the state seen last."""
        sent = self._sent
        assert sent is not None, "truncate before begin"
        # With the values sent last: what they would be at the end (how long, how many) nobody has seen.
        return self._message("end", sent.values, end_s=max(end_s, self.start_s), truncated=reason)

    def _has_changed(self, sent: Sighting, values: Values) -> bool:
        seen = self._seen
        if (seen.phrase, seen.zones) != (sent.phrase, sent.zones):
            return True
        if values.get("count") != sent.values.get("count"):
            return True
        return self._best is not None and self._best.score >= self._sent_score + _SCORE_STEP

    def _message(
        self, kind: EventType, values: Values, end_s: float | None = None, truncated: str | None = None
    ) -> Event:
        before, after = self._sent, dataclasses.replace(self._seen, values=values)
        self._sent = after
        self._sent_score = self._best.score if self._best is not None else 0.0
        return Event(
            id=self._id,
            stream_id=self._stream_id,
            kind=self._kind,
            type=kind,
            rule=self._rule,
            before=before,
            after=after,
            start_s=self.start_s,
            end_s=end_s,
            best=self._best,
            truncated=truncated,
        )


def moment(
    stream_id: str, kind: EventKind, rule: str, at_s: float, seen: Sighting, values: Values = NO_VALUES
) -> tuple[Event, Event]:
    """Return both messages of an event that has no duration."""
    event = OpenEvent(stream_id, kind, rule, at_s, seen)
    return event.begin(values), event.end(at_s, seen, values)


def new_id(wall_time: float) -> str:
    """Return an id as Frigate makes them, `1700000000.25-k3x9ap1q`: seconds since 1970 and chance."""
    return f"{wall_time:.6f}-{secrets.token_hex(4)}"
