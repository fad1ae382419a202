"""A clip on its way: a folder with all that it is made of, which outlives the process that fills it.

`job.json` says what the clip is to be, as far as that is known; `pieces.jsonl` lists the recorded video
beside it, `looks.jsonl` what was seen. The file `lock` is locked by the process that works on it, first the
one that gathers, then the one that renders. A line that a dead process or a full disk has cut is left out.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from groundstream.operators.clips.pieces import Piece, store
from groundstream.operators.clips.spec import ClipSpec
from groundstream.operators.clips.timeline import Observation
from groundstream.operators.frames import SeenObject
from groundstream.operators.utils.files import RESERVE_BYTES, check_room, replace_text, try_lock
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
        with (self.path / name).open(encoding="utf-8") as lines:
            for line in lines:
                with suppress(ValueError):
                    yield json.loads(line)


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
