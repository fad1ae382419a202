"""The files of a recording: how they are called, and what is known of one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from groundstream.operators.utils.times import file_stamp

#: Ends the name of a file that is still being written.
PART = ".part"
_NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z(-\d+)?\.(mp4|mkv)")


@dataclass(frozen=True)
class RecordedFile:
    """A finished file of a recording.

    Attributes:
        path: the file.
        stream_id: the stream that was recorded.
        epoch: the stream's epoch; a file never holds more than one.
        start_s: media time of its first picture in seconds; the file itself counts from 0.
        end_s: media time at which it ends.
        start_wall: seconds since 1970 (UTC) at `start_s`.
        size_bytes: its size.
    """

    path: Path
    stream_id: str
    epoch: int
    start_s: float
    end_s: float
    start_wall: float
    size_bytes: int

    @property
    def end_wall(self) -> float:
        """Seconds since 1970 (UTC) at `end_s`."""
        return self.start_wall + self.end_s - self.start_s


@dataclass(frozen=True)
class RecordingChange:
    """The recording of a stream has stopped, or goes on.

    Attributes:
        stream_id: the stream.
        recording: True when it goes on.
        reason: why it had to stop, for a person; empty when it goes on.
        epoch: the stream's epoch.
        time_s: media time from which on this holds.
        wall: the same in seconds since 1970 (UTC).
    """

    stream_id: str
    recording: bool
    reason: str
    epoch: int
    time_s: float
    wall: float


def is_recording(name: str) -> bool:
    """Tell whether a finished recording would have this name."""
    return _NAME.fullmatch(name) is not None


def is_part(name: str) -> bool:
    """Tell whether an unfinished recording would have this name."""
    return name.endswith(PART) and is_recording(name.removesuffix(PART))


def new_name(folder: Path, start_wall: float, suffix: str) -> Path:
    """Return a path in `folder` for a recording from `start_wall` on, at which there is no file yet.

    Args:
        folder: where recordings lie.
        start_wall: seconds since 1970 (UTC).
        suffix: `.mp4` or `.mkv`.
    """
    stem = file_stamp(start_wall)
    path, number = folder / f"{stem}{suffix}", 1
    while path.exists() or path.with_name(path.name + PART).exists():
        number += 1
        path = folder / f"{stem}-{number}{suffix}"
    return path


def into_place(part: Path) -> Path:
    """Give a finished file its name, and return it.

    Raises:
        OSError: it cannot be moved.
    """
    return part.rename(part.with_name(part.name.removesuffix(PART)))
