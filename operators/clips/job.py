"""A clip on its way: a folder with all that it is made of, which outlives the process that fills it.

`job.json` says what the clip is to be, as far as that is known; `pieces.jsonl` lists the recorded video
beside it, `looks.jsonl` what was seen. The file `lock` is locked by the process that works on it, first the
one that gathers, then the one that renders. A line that a dead process or a full disk has cut is left out.

`JobFolder` is such a folder in one thread's hands, `ClipWriter` the thread that fills those of a stream's
clips, `left_behind` finds those of a run that was killed.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from groundstream.operators.clips.pieces import Piece, store
from groundstream.operators.clips.spec import ClipSpec
from groundstream.operators.clips.timeline import Observation
from groundstream.operators.frames import SeenObject
from groundstream.operators.utils.files import RESERVE_BYTES, check_room, explain, replace_text, try_lock
from groundstream.operators.utils.worker import Worker
from groundstream.operators.video.segment import Segment

#: Jobs, and the files of unfinished clips, live in this folder inside the folder of clips.
PENDING = ".pending"
_SPEC, _PIECES, _OBSERVATIONS, _LOCK = "job.json", "pieces.jsonl", "looks.jsonl", "lock"
#: How an object of an observation is written: a row in this order.
_OBJECT_FIELDS = ("track_id", "phrase", "score", "box", "state")


@dataclass(frozen=True)
class ClipJob:
    """What a job's folder holds.

    Attributes:
        spec: what the clip is to be; of a run that died what it had become by then.
        pieces: the video, in the order in which it came.
        observations: what was seen.
    """

    spec: ClipSpec
    pieces: tuple[Piece, ...]
    observations: tuple[Observation, ...]


class JobFolder:
    """A job's folder in the hands of one thread of one process; a context that lets go of it at its end.

    Its lock ends with the process, however that ends, so what a killed run left is known by being free.

    Attributes:
        path: the folder; its name is the clip's.
        pieces: how many pieces of video were added here.
    """

    def __init__(self, path: Path, lock: IO[str]) -> None:
        """Use `create` or `take`."""
        self.path, self.pieces, self._files = path, 0, 0
        self._lock = lock
        self._lists: dict[str, IO[str]] = {}

    @classmethod
    def create(cls, path: Path) -> Self:
        """Begin the job in the new folder `path`.

        Raises:
            OSError: it is there already, or cannot be written.
        """
        path.mkdir(parents=True)
        job = cls.take(path)
        if job is None:
            raise FileNotFoundError(errno.ENOENT, "the folder was removed at once", str(path))
        return job

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Take the job in `path` in hand; None where another one has it, or it is gone.

        Raises:
            OSError: its lock cannot be opened.
        """
        try:
            # A run may have died before it made the file: whoever comes then makes it.
            lock = (path / _LOCK).open("a")
        except FileNotFoundError:
            return None
        if not try_lock(lock.fileno()):
            lock.close()
            return None
        return cls(path, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def add_piece(self, segment: Segment) -> None:
        """Keep a segment's video.

        Raises:
            OSError: it cannot be written.
        """
        check_room(self.path, RESERVE_BYTES, segment.size_bytes, times=0.5)
        self._list_piece(store(segment, self._next_file()))

    def adopt(self, other: JobFolder, from_s: float) -> None:
        """Take over what `other` has of the time after `from_s`, without a copy where the disk can do that.

        Raises:
            OSError: it cannot be written.
        """
        for piece in other._read_pieces():
            if piece.end_s > from_s:
                path = self._next_file()
                _link_or_copy(piece.path, path)
                self._list_piece(replace(piece, path=path))

    def add_observation(self, observation: Observation) -> None:
        """Keep what was seen.

        Raises:
            OSError: it cannot be written.
        """
        rows = [[getattr(seen, name) for name in _OBJECT_FIELDS] for seen in observation.objects]
        self._append(
            _OBSERVATIONS, {"epoch": observation.epoch, "time_s": observation.time_s, "objects": rows}
        )

    def save(self, spec: ClipSpec) -> None:
        """Write down what the clip is to be, as far as it is known.

        Raises:
            OSError: it cannot be written.
        """
        # First what was seen, then the spec that promises it.
        for rows in self._lists.values():
            rows.flush()
        replace_text(self.path / _SPEC, json.dumps(spec.to_dict(), ensure_ascii=False))

    def read(self) -> ClipJob:
        """Return what the folder holds.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no job, one that never got as far as its spec, or another version's.
        """
        try:
            spec = ClipSpec.from_dict(json.loads((self.path / _SPEC).read_text(encoding="utf-8")))
            observations = tuple(
                Observation(row["epoch"], row["time_s"], tuple(_seen(values) for values in row["objects"]))
                for row in self._rows(_OBSERVATIONS)
            )
            return ClipJob(spec, tuple(self._read_pieces()), observations)
        except (KeyError, TypeError, FileNotFoundError) as error:
            raise ValueError(f"{self.path} holds no job of a clip: {error}") from error

    def release(self) -> None:
        """Let go of the job: whoever renders it may take it now. May be called twice.

        Raises:
            OSError: what was added last cannot be written; the job is free all the same.
        """
        try:
            for rows in self._lists.values():
                rows.close()
        finally:
            self._lock.close()

    def remove(self) -> None:
        """Remove the folder with all that is in it; it stays locked until `release`."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _next_file(self) -> Path:
        # Counted from what was tried, not from what was kept: a number is never used twice.
        self._files += 1
        return self.path / f"{self._files:06d}.mkv"

    def _list_piece(self, piece: Piece) -> None:
        self._append(_PIECES, asdict(piece) | {"path": piece.path.name})
        self._lists[_PIECES].flush()
        self.pieces += 1

    def _append(self, name: str, row: dict[str, Any]) -> None:
        if name not in self._lists:
            self._lists[name] = (self.path / name).open("a", encoding="utf-8")
        self._lists[name].write(json.dumps(row, ensure_ascii=False) + "\n")

    def _read_pieces(self) -> Iterator[Piece]:
        for row in self._rows(_PIECES):
            file = self.path / row["path"]
            if file.exists():
                yield Piece(**row | {"path": file, "times_s": tuple(row["times_s"])})

    def _rows(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the lines of a file, without those that are cut."""
        if not (self.path / name).exists():
            return
        # A killed process may have cut a line within a letter; that must cost no more than the line.
        with (self.path / name).open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with suppress(ValueError):
                    yield json.loads(line)


class ClipWriter:
    """Does what clips ask for, in order; what waits is bounded in bytes, and what did not fit is counted.

    A job is known by its path: its folder is made, filled and let go of in the writer's thread only. One
    that cannot be kept whole is reported once, and goes on with what it gets.
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
        self._reported: set[Path] = set()
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
            size_bytes: memory that it holds; where too much waits it is dropped, counted and reported.
        """
        if not self._worker.put(lambda: self._do(path, action), size_bytes):
            self._worker.put(lambda: self._report(path, "the disk is too slow"))

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
            self._report(path, explain(error))

    def _do(self, path: Path, action: Callable[[JobFolder], None]) -> None:
        job = self._open.get(path)
        if job is None:  # it could not be begun, which was reported
            return
        try:
            action(job)
        except OSError as error:
            self._report(path, explain(error))

    def _end(self, path: Path, spec: ClipSpec) -> None:
        try:
            self._do(path, lambda job: self._hand_on(job, spec))
        finally:
            self._open.pop(path, None)
            self._reported.discard(path)

    def _hand_on(self, job: JobFolder, spec: ClipSpec) -> None:
        with job:
            job.save(spec)
        if job.pieces:
            self._submit(job.path)
        else:
            job.remove()
            self._on_problem(f"{spec.name}: no clip, because no video was recorded")

    def _report(self, path: Path, trouble: str) -> None:
        """Say once per clip that it lacks something."""
        if path not in self._reported:
            self._reported.add(path)
            self._on_problem(f"{path.name}: the clip cannot be kept whole: {trouble}")


def left_behind(folder: Path) -> tuple[Path, ...]:
    """Return the jobs in a folder of clips on which no living process works, the oldest first.

    What a dead run did not finish is as long as what it had by then, and is marked truncated. A folder in
    which no spec was written yet holds nothing that could be made, and is removed.

    Raises:
        OSError: a job cannot be read.
    """
    found = list[Path]()
    for path in sorted((folder / PENDING).glob("*/")):
        job = JobFolder.take(path)
        if job is None:
            continue
        with job:
            if _can_be_made(job):
                found.append(path)
            else:
                job.remove()
    return tuple(found)


def _can_be_made(job: JobFolder) -> bool:
    try:
        return bool(job.read().pieces)
    except ValueError:
        return False


def _seen(values: Sequence[Any]) -> SeenObject:
    named = dict(zip(_OBJECT_FIELDS, values, strict=True))
    return SeenObject(**named | {"box": tuple(named["box"])})


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
