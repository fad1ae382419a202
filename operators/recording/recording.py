"""Continuous recording: a stream's own video, never re-encoded, in files of a chosen length."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from groundstream.operators.recording.recording_files import RecordingFiles
from groundstream.operators.utils.files import RESERVE_BYTES
from groundstream.operators.video.recorded import RecordedFile, RecordingChange
from groundstream.operators.video.segment import Segment


@dataclass(frozen=True)
class RecordingCounters:
    """What became of the segments that a recording was given.

    Attributes:
        written: segments in files.
        waiting: segments that wait for the disk.
        dropped: segments that were given up: no room, or a failing or too slow disk.
    """

    written: int
    waiting: int
    dropped: int


class Recording:
    """Writes segments to files named by the UTC time of their start, in a thread of its own.

    A file grows under a temporary name (`.part`) and plays as far as it goes, also after `kill -9`, which
    costs its last few pictures; finished, it moves into place. It ends at the first key frame after
    `file_s`, at a gap or reconnect, and where the picture's size or the codec's parameters change. When the
    disk is full or fails, recording stops, says so, and goes on as soon as it can.

    Args:
        folder: where files go; made when needed.
        file_s: wanted length of a file in seconds.
        on_file: called with each finished file, from this recording's thread.
        on_change: called when recording stops and when it goes on, from this recording's thread.
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
        self._most_waiting_bytes = most_waiting_bytes
        self._queue: deque[Segment | None] = deque()  # None ends a file
        self._waiting_bytes = self._written = self._dropped = 0
        self._change = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def add(self, segment: Segment) -> None:
        """Hand over a segment, from any thread; returns at once."""
        with self._change:
            if self._closing or self._waiting_bytes + segment.size_bytes > self._most_waiting_bytes:
                self._dropped += 1
                return
            self._queue.append(segment)
            self._waiting_bytes += segment.size_bytes
            self._change.notify_all()

    def end_file(self) -> None:
        """Finish the file that is being written, from any thread; returns at once."""
        with self._change:
            self._queue.append(None)
            self._change.notify_all()

    def close(self, timeout_s: float = 30.0) -> None:
        """Write what waits and finish the file; may be called twice."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join(timeout_s)

    @property
    def counters(self) -> RecordingCounters:
        """A snapshot of the counters."""
        with self._change:
            waiting = sum(segment is not None for segment in self._queue)
            return RecordingCounters(self._written, waiting, self._dropped)

    def _run(self) -> None:
        while self._wait():
            segment = self._next()
            if segment is None:
                self._finish()
                continue
            written = self._files.write(segment)
            with self._change:
                self._written += written
                self._dropped += not written
        self._finish()

    def _finish(self) -> None:
        with contextlib.suppress(OSError):  # what was written is kept; the next start has nothing to save
            self._files.finish()

    def _wait(self) -> bool:
        """Wait for something to do; False when all is done."""
        with self._change:
            self._change.wait_for(lambda: self._queue or self._closing)
            return bool(self._queue)

    def _next(self) -> Segment | None:
        with self._change:
            segment = self._queue.popleft()
            self._waiting_bytes -= segment.size_bytes if segment is not None else 0
            return segment
