"""What a run that was killed left of its recordings: finished at the next start."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import BinaryIO, cast

import av

from groundstream.operators.recording.files import PART, RecordedFile, into_place, is_part
from groundstream.operators.utils.files import GuardedFile, cut_to_whole_boxes, explain, held
from groundstream.operators.video.joined_file import FileFacts, copy_joined

_log = logging.getLogger("groundstream.recording")
#: Ends the name of a copy that is not finished; one that a killed run left is thrown away, its origin is
#: still there. The word is older than `recover`; another one would leave copies of older versions lying.
_COPY = ".salvage"


def recover(folder: Path) -> list[RecordedFile]:
    """Finish the recordings in `folder` that nobody is writing, and return them.

    They are copied into ordinary files, packet by packet; where there is no room for a copy, they are cut
    to what is whole and stay as they are. Those that hold nothing yet are removed.
    """
    if not folder.is_dir():
        return []
    parts = [part for part in sorted(folder.glob(f"*{PART}")) if is_part(part.name)]
    return [file for file in map(_if_left, parts) if file is not None]


def finished_file(path: Path) -> RecordedFile | None:
    """Return a finished recording as it describes itself; None where it is none."""
    try:
        facts = FileFacts.read(path)
        length_s = 0.0 if facts is None else copy_joined(path, None)
        size_bytes = path.stat().st_size
    except (OSError, av.FFmpegError):
        return None
    if facts is None or length_s == 0:
        return None
    end_s = facts.start_s + length_s
    return RecordedFile(
        path, facts.stream_id, facts.epoch, facts.start_s, end_s, facts.start_wall, size_bytes
    )


def _if_left(part: Path) -> RecordedFile | None:
    """Finish `part` unless somebody is writing it; None where there is nothing to keep."""
    try:
        with held(part) as ours:
            return _finish(part) if ours else None
    except OSError as error:  # libav's errors about places are of this kind, too
        _log.warning("%s: cannot be finished now: %s", part, explain(error))
        return None


def _finish(part: Path) -> RecordedFile | None:
    try:
        facts = FileFacts.read(part)
    except av.InvalidDataError:
        part.unlink()  # the run was killed before the head of the file was written
        return None
    if facts is None:  # not made by a recording
        return None
    written = part.stat()
    length_s = _rewrite(part)
    if length_s == 0:
        part.unlink()
        return None
    # When it was written tells its run and its age; recovering it has made it no younger.
    os.utime(part, ns=(written.st_atime_ns, written.st_mtime_ns))
    path = into_place(part)
    _log.info("%s: saved %.1f s of a run that was killed", path, length_s)
    return finished_file(path)


def _rewrite(part: Path) -> float:
    """Make an ordinary file of `part`; return its length in seconds."""
    copy = part.with_name(part.name + _COPY)
    copy.unlink(missing_ok=True)
    file = GuardedFile(copy)
    try:
        length_s = copy_joined(part, cast(BinaryIO, file))
        file.sync()
        if length_s > 0:
            copy.replace(part)
    except (OSError, av.FFmpegError):
        if part.name.endswith(f".mp4{PART}"):
            cut_to_whole_boxes(part)
        return copy_joined(part, None)
    finally:
        file.close()
        copy.unlink(missing_ok=True)
    return length_s
