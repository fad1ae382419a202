"""What happens in a stream, as it is told: one event from its beginning to its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

EventKind = Literal[
    "appear", "disappear", "zone_enter", "zone_exit", "line_cross", "dwell", "count", "recording"
]
EventType = Literal["new", "update", "end"]


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
        before: the state told last; None in `new`.
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
