"""Frames on their way in, results on their way out: the values that every room of operators knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np

from groundstream.models.types import ModelInfo, Prompt
from groundstream.operators.utils.times import rfc3339

if TYPE_CHECKING:
    import av
    import supervision as sv

T = TypeVar("T")

#: (left, top, right, bottom).
Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded, upright picture of a stream.

    Attributes:
        stream_id: the stream's name in every output.
        epoch: grows by one at each reconnect; 1 at the start.
        seq: number of the frame in its stream, from 0; grows over epochs, never repeats.
        time_s: media clock in seconds, from the presentation time stamp; starts anew in a new epoch.
        wall_time: seconds since 1970 (UTC) when the frame was read.
        picture: the decoded frame, rotation metadata already applied; None once it has left, as in queues
            of outputs that do not draw and in every other process.
        dropped: frames lost since the last one that was handed on, by reason.
        width: of the picture in pixels; taken from the picture where there is one.
        height: the same.
    """

    stream_id: str
    epoch: int
    seq: int
    time_s: float
    wall_time: float
    picture: av.VideoFrame | None
    dropped: Mapping[str, int] = field(default_factory=dict)
    width: int = 0
    height: int = 0

    def __post_init__(self) -> None:
        if self.picture is not None:
            object.__setattr__(self, "width", self.picture.width)
            object.__setattr__(self, "height", self.picture.height)


class SeenObject(NamedTuple):
    """One object in one frame: plain values, so that it is compared, kept and sent as it is.

    Attributes:
        track_id: `stream:epoch:n`; empty while tentative.
        phrase: the phrase that it answers to.
        score: smoothed score of that phrase, 0..1.
        box: xyxy in pixels of the frame; in what clips and the index keep, in parts of the picture, 0..1, so
            that a change of size changes nothing.
        state: `tentative` (no track yet), `confirmed` (seen in this frame) or `lost` (not seen: the box is
            the tracker's guess); in a clip also `interpolated`, between two sightings.
        number: n of the track's id; -1 while tentative.
        phrase_index: of `phrase` in the prompt, from 0; -1 where that is not known any more.
        phrase_scores: smoothed score of each phrase of the prompt, 0..1.
        age_s: seconds of the media clock since the track was first seen.
        interpolated: whether the box was computed and not seen.
        zones: names of the zones that hold it; empty where there are no rules.
    """

    track_id: str
    phrase: str
    score: float
    box: Box
    state: str = "confirmed"
    number: int = -1
    phrase_index: int = -1
    phrase_scores: tuple[float, ...] = ()
    age_s: float = 0.0
    interpolated: bool = False
    zones: tuple[str, ...] = ()


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

    It never changes: a result with other zones or other losses is a new one. So what is made of it for
    several outputs (its record, the record's bytes) is made once and kept with it, and belongs to all:
    nobody writes into it.

    Attributes:
        frame: the frame itself, with its picture.
        prompt: the phrases that were asked.
        model: which model answered, and with which adapter.
        objects: what was found, one entry per object.
        stale: True when the detector gave no answer for this frame; `objects` then mean nothing.
        timing_ms: milliseconds by stage (`decode`, `letterbox`, `detect`, `track`).
        zones_known: whether there are rules, so that the objects' zones are known.
    """

    frame: Frame
    prompt: Prompt
    model: ModelInfo
    objects: tuple[SeenObject, ...]
    stale: bool = False
    timing_ms: Mapping[str, float] = field(default_factory=dict)
    zones_known: bool = False

    @property
    def wall_time(self) -> str:
        """The frame's wall time as RFC 3339 in UTC with milliseconds."""
        return rfc3339(self.frame.wall_time)

    @cached_property
    def detections(self) -> sv.Detections:
        """The objects as supervision has them, with rules also their zones; see `to_detections`."""
        return to_detections(self.objects, len(self.prompt.phrases), zones=self.zones_known)

    def once(self, make: Callable[[FrameResult], T]) -> T:
        """Return `make(result)`, made at the first call and kept for all that ask with the same function.

        So rooms above this one keep what they make of results (records, and their bytes) with the results.
        """
        made: dict[Callable[[FrameResult], Any], Any] = self.__dict__.setdefault("_made", {})
        if make not in made:
            # Two sinks' threads may both come first: each makes an equal one, and the first to end stays.
            made.setdefault(make, make(self))
        return cast("T", made[make])

    @property
    def without_picture(self) -> FrameResult:
        """The result for queues that hold no pixels; one for all of them, so that its record is, too."""
        return self if self.frame.picture is None else self.once(_without_picture)

    def with_zones(self, zones: Iterable[tuple[str, ...]]) -> FrameResult:
        """Return the result with the zones of each of its objects, in their order."""
        objects = tuple(seen._replace(zones=names) for seen, names in zip(self.objects, zones, strict=True))
        return dataclasses.replace(self, objects=objects, zones_known=True)

    def with_dropped(self, dropped: Mapping[str, int]) -> FrameResult:
        """Return the result of a frame before which other frames were lost, by reason."""
        return dataclasses.replace(self, frame=dataclasses.replace(self.frame, dropped=dropped))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be made again: a result on its way to another process is no larger for it."""
        return {each.name: self.__dict__[each.name] for each in dataclasses.fields(self)}


def _without_picture(result: FrameResult) -> FrameResult:
    return dataclasses.replace(result, frame=dataclasses.replace(result.frame, picture=None))


def to_detections(objects: Sequence[SeenObject], phrase_count: int, *, zones: bool = False) -> sv.Detections:
    """Return N objects as supervision has them.

    Boxes are xyxy in frame pixels, with `tracker_id` (n of the track's id; -1 while tentative), `class_id`
    (index of the phrase in the prompt) and `confidence` (smoothed score of that phrase); data fields of
    length N: `phrase` (str), `phrase_scores` ((N, P) float32), `track_uid` (str; `stream:epoch:n`, empty
    while tentative), `state` (tentative, confirmed or lost), `age_s` (float32), `interpolated` (bool), and
    where they are asked for `zones` (tuples of names).

    Args:
        objects: with the scores of all phrases.
        phrase_count: P, the phrases of the prompt.
        zones: whether the objects' zones are known and wanted.
    """
    import supervision as sv  # heavy, and most runs draw and hand on nothing

    count = len(objects)
    found = sv.Detections(
        xyxy=np.array([seen.box for seen in objects], np.float32).reshape(count, 4),
        confidence=np.array([seen.score for seen in objects], np.float32),
        class_id=np.array([seen.phrase_index for seen in objects], np.int64),
        tracker_id=np.array([seen.number for seen in objects], np.int64),
        data={
            "phrase": np.array([seen.phrase for seen in objects], np.str_),
            "phrase_scores": np.array([seen.phrase_scores for seen in objects], np.float32).reshape(
                count, phrase_count
            ),
            "track_uid": np.array([seen.track_id for seen in objects], np.str_),
            "state": np.array([seen.state for seen in objects], np.str_),
            "age_s": np.array([seen.age_s for seen in objects], np.float32),
            "interpolated": np.array([seen.interpolated for seen in objects], np.bool_),
        },
    )
    if zones:
        column = np.empty(count, object)
        for row, seen in enumerate(objects):  # at once, numpy would take tuples for a table
            column[row] = seen.zones
        found.data["zones"] = column
    return found
