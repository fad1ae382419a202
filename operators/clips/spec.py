"""What a clip is to be, how it is called, and what became of it.

A clip's name is decided here and nowhere else: `clip_name`. `ClipManager` calls it when an event (or the
unbroken chain of `always`) begins a clip, `export_span` when one is cut out of a recording. `OpenClip` adds
`.2`, `.3`, ... for the parts of a long clip, `render_span` `-2`, `-3`, ... where codec or size change within
one, and `file_names` the endings of its four files. `DiskBudget` knows clips by names of this shape.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from groundstream.operators.clips.timeline import SAME_S
from groundstream.operators.events.rules import StreamRules
from groundstream.operators.urls import mask
from groundstream.operators.utils.times import file_stamp

_LONGEST_WORDS = 40  # characters; four bytes each at most, of the 255 that file systems allow
#: Kinds of a clip's files in the order in which they go into place: who finds the facts finds all.
FILE_KINDS = ("annotated", "raw", "thumbnail", "facts")


def clip_name(start_wall: float, kind: str, phrase: str) -> str:
    """Return `20261122T060250.123Z-zone_enter-white-van-1a2b3c4d`, distinct at each call.

    Nothing in it that a file system minds, and nothing secret: the password of a URL is left out.

    Args:
        start_wall: when the clip starts, in seconds since 1970.
        kind: of the event that it was begun for.
        phrase: in anyone's words: letters and digits of any script stay, the rest becomes hyphens; empty
            where there is none.
    """
    phrase_words = re.sub(r"[\W_]+", "-", mask(phrase))[:_LONGEST_WORDS].strip("-")
    # Two clips may begin in the same millisecond with the same words: the last part keeps them apart.
    words = (file_stamp(start_wall), kind, phrase_words, secrets.token_hex(4))
    return "-".join(word for word in words if word)


def file_names(name: str, raw_suffix: str) -> dict[str, str]:
    """Return the file names of the clip `name` by kind, in the order of `FILE_KINDS`.

    Args:
        name: of the clip.
        raw_suffix: `.raw.mp4` or `.raw.mkv`.
    """
    return dict(
        zip(FILE_KINDS, (f"{name}.mp4", name + raw_suffix, f"{name}.jpg", f"{name}.json"), strict=True)
    )


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
class Shape:
    """A zone or a line as it is drawn into a clip.

    Attributes:
        name: written beside its first point.
        points: corners in parts of the picture, 0..1, from the top left.
        closed: True for a zone, False for a line.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    closed: bool


def shapes_of(rules: StreamRules | None) -> tuple[Shape, ...]:
    """Return the zones and lines of `rules` as they are drawn; nothing where there are no rules."""
    if rules is None:
        return ()
    zones = [Shape(zone.name, zone.polygon, closed=True) for zone in rules.zones]
    lines = [Shape(line.name, (line.start, line.end), closed=False) for line in rules.lines]
    return (*zones, *lines)


@dataclass(frozen=True)
class ClipSpec:
    """What a clip is to be.

    Attributes:
        name: of its files, without an ending.
        stream_id: the stream that it shows.
        span: what is asked.
        part: counted from 1, where a long clip is continued in another.
        events: records of the events that it was made for.
        shapes: zones and lines to draw.
        truncated: why it ends before its time; None where it does not.
        best_s: media time of its best moment; None takes that of the highest score.
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
    def from_dict(cls, values: Mapping[str, Any]) -> ClipSpec:
        """Return the spec that `to_dict` made these values of.

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
