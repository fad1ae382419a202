"""Frames on their way in, results on their way out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from groundstream.models.types import ModelInfo, Prompt

if TYPE_CHECKING:
    import av
    import supervision as sv


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded, upright picture of a stream.

    Attributes:
        stream_id: the stream's name in every output.
        epoch: grows by one at each reconnect; 1 at the start.
        seq: number of the frame in its stream, from 0; grows over epochs, never repeats.
        time_s: media clock in seconds, from the presentation time stamp; starts anew in a new epoch.
        wall_time: seconds since 1970 (UTC) when the frame was read.
        picture: the decoded frame, rotation metadata already applied. Never leaves its process.
        dropped: frames lost since the last one that was handed on, by reason.
    """

    stream_id: str
    epoch: int
    seq: int
    time_s: float
    wall_time: float
    picture: av.VideoFrame
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.picture.width

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.picture.height


@dataclass(frozen=True)
class Position:
    """A frame that a stream has come to.

    Attributes:
        epoch: connection of a camera, from 1.
        seq: number of the frame in its stream.
        time_s: media time in seconds.
        tracks: highest number that a track had so far in this epoch.
    """

    epoch: int
    seq: int
    time_s: float
    tracks: int = 0


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What was found in one frame.

    Attributes:
        frame: the frame itself, with its picture.
        prompt: the phrases that were asked.
        model: which model answered, and with which adapter.
        detections: boxes in frame pixels, xyxy, with `tracker_id` (n of the track's id; -1 while tentative),
            `class_id` (index of the phrase in the prompt) and `confidence` (smoothed score of that phrase);
            data fields of length N: `phrase` (str), `phrase_scores` ((N, P) float32), `track_uid` (str;
            `stream:epoch:n`, empty while tentative), `state` (tentative, confirmed or lost),
            `age_s` (float32), `interpolated` (bool); with rules also `zones` (tuples of names).
        stale: True when the detector gave no answer for this frame; `detections` then mean nothing.
        timing_ms: milliseconds by stage (`decode`, `letterbox`, `wait`, `detect`, `track`).
    """

    frame: Frame
    prompt: Prompt
    model: ModelInfo
    detections: sv.Detections
    stale: bool = False
    adapter: str = "none"
    timing_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def wall_time(self) -> str:
        """The frame's wall time as RFC 3339 in UTC with milliseconds."""
        moment = datetime.fromtimestamp(self.frame.wall_time, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
