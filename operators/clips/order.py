"""What a clip is to be and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from groundstream.operators.clips.timeline import SAME_S
from groundstream.operators.video.shape import Shape


@dataclass(frozen=True)
class Span:
    """A range of media time in seconds.

    Attributes:
        start_s: pictures at this time belong to it.
        end_s: pictures at this time do too, unless `open_end`.
        open_end: the next part of the same clip starts at `end_s`.
    """

    start_s: float
    end_s: float
    open_end: bool = False

    def holds(self, time_s: float) -> bool:
        """Tell whether a picture at `time_s` belongs to it."""
        before_end = time_s < self.end_s - SAME_S if self.open_end else time_s <= self.end_s + SAME_S
        return before_end and time_s >= self.start_s - SAME_S


@dataclass(frozen=True)
class ClipOrder:
    """What a clip is to be.

    Attributes:
        name: of its files, without an ending.
        stream_id: the stream that it shows.
        span: what is asked.
        part: counted from 1, where a long clip is continued in another.
        events: records of the events that it was made for.
        shapes: zones and lines to draw.
        truncated: why it ends before its time; None where it does not.
        best_s: media time of its best moment; None looks for the highest score.
    """

    name: str
    stream_id: str
    span: Span
    part: int = 1
    events: tuple[Mapping[str, Any], ...] = ()
    shapes: tuple[Shape, ...] = ()
    truncated: str | None = None
    best_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as values that JSON has."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClipOrder:
        """Return the order that `to_dict` made these values of.

        Raises:
            KeyError, TypeError: they are of something else.
        """
        shapes = [
            Shape(shape["name"], tuple((x, y) for x, y in shape["points"]), shape["closed"])
            for shape in values["shapes"]
        ]
        given = dict(values) | {"span": Span(**values["span"])}
        return cls(**given | {"events": tuple(values["events"]), "shapes": tuple(shapes)})


@dataclass(frozen=True)
class ClipFiles:
    """A finished clip.

    Attributes:
        annotated: MP4 with everything drawn.
        raw: the recorded video, from the key frame before.
        thumbnail: JPEG of the best moment.
        facts: JSON, `groundstream.clip/1`.
        epoch: of the stream.
        start_s: media time of the first picture of `annotated`.
        end_s: media time of its last one.
        start_wall: wall time of the first one, in seconds since 1970.
        end_wall: wall time of the last one.
        frames: how many pictures it has.
    """

    annotated: Path
    raw: Path
    thumbnail: Path
    facts: Path
    epoch: int
    start_s: float
    end_s: float
    start_wall: float
    end_wall: float
    frames: int
