"""Continuous recording: a stream's own video, never re-encoded, in files of a chosen length.

`RecordingWriter` is the thread and its queue; `RecordingFiles` decides when a file begins and ends, and what
happens when the disk is full.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import av

from groundstream.operators.recording.files import PART, RecordedFile, RecordingChange, into_place, new_name
from groundstream.operators.utils.files import (
    RESERVE_BYTES,
    GuardedFile,
    check_room,
    cut_to_whole_boxes,
    explain,
)
from groundstream.operators.utils.worker import Worker
from groundstream.operators.video.containers import suffix_for
from groundstream.operators.video.joined_file import JoinedFile
from groundstream.operators.video.segment import Segment

#: After a failure that is not for want of room, the place is tried again so often.
RETRY_S = 5.0
#: To go on after the disk was full there must be room for so many segments.
_SEGMENTS_OF_ROOM = 4
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class RecordingCounters:
    """What became of the segments that a recording was given.

    Attributes:
        written: segments in files.
        waiting: segments that wait for the disk, the one that is being written among them.
        dropped: segments that were given up: no room, or a failing or too slow disk.
    """

    written: int
    waiting: int
    dropped: int


class RecordingWriter:
    """Writes segments to files named by the UTC time of their start, in a thread of its own.

    A file grows under a temporary name (`.part`) and plays as far as it goes, also after `kill -9`, which
    costs its last few pictures; finished, it moves into place. It ends at the first key frame after
    `file_s`, at a gap or reconnect, and where the picture's size or the codec's parameters change. When the
    disk is full or fails, recording stops, says so, and goes on as soon as it can.

    Args:
        folder: where files go; made when needed.
        file_s: wanted length of a file in seconds.
        on_file: called with each finished file, from the writer's thread.
        on_change: called when recording stops and when it goes on, from the writer's thread.
        reserve_bytes: room that is left free, or a twentieth of the disk where that is less; recording stops
            when less is free, and goes on when there is twice as much.
        most_waiting_bytes: segments that may wait for a slow disk; further ones are dropped.
    """

    def __init__(
        self,
        folder: Path,
        file_s: float,
        *,
        on_file: Callable[[RecordedFile], None],
        on_change: Callable[[RecordingChange], None],
        reserve_bytes: int = RESERVE_BYTES,
        most_waiting_bytes: int = 64 * 2**20,
    ) -> None:
        if not (math.isfinite(file_s) and file_s > 0):
            raise ValueError(f"file_s must be a number of seconds above 0, but got {file_s}")
        self._files = RecordingFiles(folder, file_s, on_file, on_change, reserve_bytes)
        self._written = self._failed = 0
        self._worker = Worker[Segment | None](
            "recording", self._handle, most_bytes=most_waiting_bytes, finish=self._finish
        )

    def add(self, segment: Segment) -> None:
        """Hand over a segment, from any thread; returns at once."""
        self._worker.put(segment, segment.size_bytes)

    def end_file(self) -> None:
        """Finish the file that is being written, from any thread; returns at once."""
        self._worker.put(None)

    def close(self, timeout_s: float = 30.0) -> None:
        """Write what waits and finish the file; may be called twice."""
        self._worker.close(timeout_s)

    @property
    def counters(self) -> RecordingCounters:
        """The counters now."""
        return RecordingCounters(self._written, self._worker.waiting, self._failed + self._worker.dropped)

    def _handle(self, segment: Segment | None) -> None:
        if segment is None:
            self._finish()
        elif self._files.write(segment):
            self._written += 1
        else:
            self._failed += 1

    def _finish(self) -> None:
        # What was written is kept; the next start has nothing to recover.
        with contextlib.suppress(OSError, av.FFmpegError):
            self._files.finish()


@dataclass(eq=False)
class _Growing:
    """A file that is being written."""

    file: GuardedFile
    joined: JoinedFile
    first: Segment
    segments: int = 0


class RecordingFiles:
    """Writes segments into files; called from one thread.

    Args:
        folder: where files go; made when needed.
        file_s: a file ends at the first key frame after so many seconds.
        on_file: called with each finished file.
        on_change: called when recording stops and when it goes on.
        reserve_bytes: recording stops when less than this, or than a twentieth of the disk, is free, and goes
            on when there is twice as much and room for a few segments.
    """

    def __init__(
        self,
        folder: Path,
        file_s: float,
        on_file: Callable[[RecordedFile], None],
        on_change: Callable[[RecordingChange], None],
        reserve_bytes: int,
    ) -> None:
        self._folder, self._file_s, self._reserve_bytes = folder, file_s, reserve_bytes
        self._on_file, self._on_change = on_file, on_change
        self._growing: _Growing | None = None
        self._stopped, self._retry_at = False, 0.0
        self._log = logging.getLogger("groundstream.recording")

    def write(self, segment: Segment) -> bool:
        """Write `segment`; False where that is not possible now."""
        if time.monotonic() < self._retry_at:
            return False
        try:
            self._check_room(segment)
            written = self._append(segment)
        except (OSError, av.FFmpegError) as error:
            self._stop(segment, error)
            return False
        if written and self._stopped:
            self._stopped = False
            self._report(segment, "")
        return written

    def finish(self) -> None:
        """Finish the file that is being written.

        Raises:
            OSError: there is no room for its index, or the disk fails; what was written is kept.
        """
        growing, self._growing = self._growing, None
        if growing is None:
            return
        try:
            growing.joined.close()
            growing.file.sync()
        except (OSError, av.FFmpegError):
            self._leave(growing)
            raise
        self._hand_on(growing)

    def _append(self, segment: Segment) -> bool:
        growing = self._growing
        if growing is not None:
            due = segment.keyed and segment.start_s - growing.first.start_s >= self._file_s
            if not due and growing.joined.add(segment):
                growing.segments += 1
                return True
            self.finish()
        if not segment.keyed:  # nothing can be decoded from here on
            return False
        self._begin(segment)
        return True

    def _begin(self, segment: Segment) -> None:
        final = new_name(self._folder, segment.start_wall, suffix_for(segment.codec))
        file = GuardedFile(final.with_name(final.name + PART))
        self._growing = _Growing(file, JoinedFile(cast(BinaryIO, file), segment), segment)
        self._growing.joined.add(segment)
        self._growing.segments = 1

    def _check_room(self, segment: Segment) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._stopped:  # room for more than this one, or it would stop and go on all the time
            further = _SEGMENTS_OF_ROOM * segment.size_bytes
            check_room(self._folder, self._reserve_bytes, further, times=2.0)
        else:
            check_room(self._folder, self._reserve_bytes, segment.size_bytes)

    def _stop(self, segment: Segment, error: Exception) -> None:
        """Keep what is written, and report that nothing is written from `segment` on."""
        with contextlib.suppress(OSError, av.FFmpegError):
            self.finish()
        number = error.errno if isinstance(error, OSError) else None
        self._retry_at = 0.0 if number in _NO_ROOM else time.monotonic() + RETRY_S
        if not self._stopped:
            self._stopped = True
            words = explain(error) if isinstance(error, OSError) else str(error)
            self._report(segment, f"cannot write to {self._folder}: {words}")

    def _leave(self, growing: _Growing) -> None:
        """Keep what there is of a file that cannot be finished."""
        growing.file.close()  # libav writes no index into a closed file
        with contextlib.suppress(OSError, av.FFmpegError):
            growing.joined.close()
        with contextlib.suppress(OSError):
            if growing.file.path.name.endswith(f".mp4{PART}"):
                cut_to_whole_boxes(growing.file.path)
            if growing.segments:
                self._hand_on(growing)
            else:
                growing.file.path.unlink()

    def _hand_on(self, growing: _Growing) -> None:
        path, first = into_place(growing.file.path), growing.first
        growing.file.close()
        size_bytes = path.stat().st_size
        file = RecordedFile(
            path,
            first.stream_id,
            first.epoch,
            first.start_s,
            growing.joined.end_s,
            first.start_wall,
            size_bytes,
        )
        try:
            self._on_file(file)
        except Exception:  # a listener's fault must not stop the recording
            self._log.exception("the listener to the files of this recording failed")

    def _report(self, segment: Segment, reason: str) -> None:
        change = RecordingChange(
            segment.stream_id, not reason, reason, segment.epoch, segment.start_s, segment.start_wall
        )
        try:
            self._on_change(change)
        except Exception:
            self._log.exception("the listener to this recording failed")
