"""Writes jobs to disk in a thread of its own, so that no stream ever waits for a disk."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from groundstream.operators.clips.job import JobWriter, remove_job
from groundstream.operators.clips.order import ClipOrder
from groundstream.operators.clips.timeline import Look
from groundstream.operators.video.segment import Segment

_log = logging.getLogger(__name__)

_LOOK_BYTES, _OBJECT_BYTES = 200, 200  # what a look takes in memory, about


class ClipDesk:
    """Does what clips ask for, in order; what waits is bounded in bytes, and what did not fit is counted."""

    def __init__(
        self,
        submit: Callable[[Path], None],
        on_problem: Callable[[str], None],
        most_bytes: int = 128 * 2**20,
    ) -> None:
        """Start the desk.

        Args:
            submit: gets the folder of each job that is complete, in the desk's thread.
            on_problem: gets one sentence for each clip that could not be kept whole, in the desk's thread.
            most_bytes: video and looks that may wait for the disk.
        """
        self._submit, self._on_problem, self._most_bytes = submit, on_problem, most_bytes
        #: Segments and looks that were lost because the disk was too slow.
        self.dropped = 0
        self._waiting: deque[tuple[Callable[[], None], int]] = deque()
        self._bytes, self._busy, self._closing = 0, False, False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="clip desk", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many things are still to be done."""
        with self._change:
            return len(self._waiting) + self._busy

    def begin(self, path: Path, *, adopt: DeskJob | None = None, from_s: float = 0.0) -> DeskJob:
        """Begin a job in the folder `path`, with what `adopt` has of the time after `from_s` seconds."""
        job = DeskJob(self, path, self._submit, self._on_problem)
        self.put(lambda: job.open(adopt, from_s))
        return job

    def put(self, action: Callable[[], None], size_bytes: int = 0) -> bool:
        """Have `action` done after those before it.

        Returns:
            False where it holds `size_bytes` and too much waits already: it is dropped and counted.
        """
        with self._change:
            if size_bytes and self._bytes + size_bytes > self._most_bytes:
                self.dropped += 1
                return False
            self._waiting.append((action, size_bytes))
            self._bytes += size_bytes
            self._change.notify()
            return True

    def close(self) -> None:
        """Do what waits, then stop; may be called twice."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                action, size_bytes = self._waiting.popleft()
                self._busy = True
            try:
                action()
            except Exception:  # one clip's fault must not cost the others
                _log.exception("a clip could not be kept")
            with self._change:
                self._bytes -= size_bytes
                self._busy = False


class DeskJob:
    """One job at the desk: each call is done later, in the desk's thread."""

    def __init__(
        self,
        desk: ClipDesk,
        path: Path,
        submit: Callable[[Path], None],
        on_problem: Callable[[str], None],
    ) -> None:
        self._desk, self._path, self._submit, self._on_problem = desk, path, submit, on_problem
        self._writer: JobWriter | None = None
        self._told = False

    def add_piece(self, segment: Segment) -> None:
        """Keep a segment's video."""
        self._put(lambda writer: writer.add_piece(segment), segment.size_bytes)

    def add_look(self, look: Look) -> None:
        """Keep what was seen."""
        self._put(lambda writer: writer.add_looks((look,)), _LOOK_BYTES + _OBJECT_BYTES * len(look.objects))

    def save(self, order: ClipOrder) -> None:
        """Write down what the clip is to be, as far as it is known."""
        self._put(lambda writer: writer.save(order))

    def end(self, order: ClipOrder) -> None:
        """Hand the job on to be made."""
        self._put(lambda writer: self._end(writer, order))

    def open(self, adopt: DeskJob | None, from_s: float) -> None:
        """Make the folder; the desk calls it."""
        try:
            self._writer = JobWriter(self._path)
            if adopt is not None and adopt._writer is not None:
                self._writer.adopt(adopt._writer, from_s)
        except OSError as error:
            self._tell(error.strerror or str(error))

    def _put(self, action: Callable[[JobWriter], None], size_bytes: int = 0) -> None:
        if not self._desk.put(lambda: self._do(action), size_bytes):
            self._desk.put(lambda: self._tell("the disk is too slow"))

    def _do(self, action: Callable[[JobWriter], None]) -> None:
        if self._writer is None:
            return
        try:
            action(self._writer)
        except OSError as error:
            self._tell(error.strerror or str(error))

    def _end(self, writer: JobWriter, order: ClipOrder) -> None:
        try:
            writer.save(order)
        finally:
            writer.end()
        if writer.pieces:
            self._submit(self._path)
        else:
            remove_job(self._path)
            self._on_problem(f"{order.name}: no clip, because no video was recorded")

    def _tell(self, trouble: str) -> None:
        """Say once per clip that it lacks something."""
        if not self._told:
            self._told = True
            self._on_problem(f"{self._path.name}: the clip cannot be kept whole: {trouble}")
