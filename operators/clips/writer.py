"""Writes the jobs of clips to disk in a thread of its own, so that no stream ever waits for a disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from groundstream.operators.clips.job import JobFolder
from groundstream.operators.clips.spec import ClipSpec
from groundstream.operators.utils.files import explain
from groundstream.operators.utils.worker import Worker


class ClipWriter:
    """Does what clips ask for, in order; what waits is bounded in bytes, and what did not fit is counted.

    A job is known by its path: its folder is made, filled and let go of in the writer's thread only. One
    that cannot be kept whole is told of once, and goes on with what it gets.
    """

    def __init__(
        self,
        submit: Callable[[Path], None],
        on_problem: Callable[[str], None],
        most_bytes: int = 128 * 2**20,
    ) -> None:
        """Start the writer.

        Args:
            submit: gets the folder of each job that is complete, in the writer's thread.
            on_problem: gets one sentence for each clip that could not be kept whole, in the same thread.
            most_bytes: video and observations that may wait for the disk.
        """
        self._submit, self._on_problem = submit, on_problem
        self._open: dict[Path, JobFolder] = {}
        self._told: set[Path] = set()
        self._worker = Worker[Callable[[], None]](
            "clip writer", lambda action: action(), most_bytes=most_bytes
        )

    @property
    def dropped(self) -> int:
        """Segments and observations that were lost because the disk was too slow."""
        return self._worker.dropped

    @property
    def waiting(self) -> int:
        """How many things are still to be done."""
        return self._worker.waiting

    def begin(self, path: Path, *, adopt: Path | None = None, from_s: float = 0.0) -> Path:
        """Begin the job `path`, with what the job `adopt` has of the time after `from_s`; return `path`."""
        self._worker.put(lambda: self._begin(path, adopt, from_s))
        return path

    def put(self, path: Path, action: Callable[[JobFolder], None], size_bytes: int = 0) -> None:
        """Have `action` done with the job `path` after what was asked before; returns at once.

        Args:
            path: the job.
            action: may raise OSError.
            size_bytes: memory that it holds; where too much waits already it is dropped, counted and told.
        """
        if not self._worker.put(lambda: self._do(path, action), size_bytes):
            self._worker.put(lambda: self._tell(path, "the disk is too slow"))

    def end(self, path: Path, spec: ClipSpec) -> None:
        """Hand the job `path` on to be made into the clip of `spec`."""
        self._worker.put(lambda: self._end(path, spec))

    def close(self) -> None:
        """Do what waits, then stop; may be called twice."""
        self._worker.close()

    def _begin(self, path: Path, adopt: Path | None, from_s: float) -> None:
        try:
            job = self._open[path] = JobFolder.create(path)
            if adopt is not None and (before := self._open.get(adopt)) is not None:
                job.adopt(before, from_s)
        except OSError as error:
            self._tell(path, explain(error))

    def _do(self, path: Path, action: Callable[[JobFolder], None]) -> None:
        job = self._open.get(path)
        if job is None:  # it could not be begun, which was told
            return
        try:
            action(job)
        except OSError as error:
            self._tell(path, explain(error))

    def _end(self, path: Path, spec: ClipSpec) -> None:
        self._do(path, lambda job: self._hand_on(job, spec))
        self._open.pop(path, None)
        self._told.discard(path)

    def _hand_on(self, job: JobFolder, spec: ClipSpec) -> None:
        with job:
            job.save(spec)
        if job.pieces:
            self._submit(job.path)
        else:
            job.remove()
            self._on_problem(f"{spec.name}: no clip, because no video was recorded")

    def _tell(self, path: Path, trouble: str) -> None:
        """Say once per clip that it lacks something."""
        if path not in self._told:
            self._told.add(path)
            self._on_problem(f"{path.name}: the clip cannot be kept whole: {trouble}")
