"""A clip on its way: what it is made of, gathered in a folder that outlives its process.

`job.json` says what the clip is to be, as far as that is known; `pieces.jsonl` lists the recorded video
beside it, `looks.jsonl` what was seen. A line that a dead process or a full disk has cut is left out.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Self

from groundstream.operators.clips.order import ClipOrder
from groundstream.operators.clips.pieces import Piece, store
from groundstream.operators.clips.timeline import Look
from groundstream.operators.frames import SeenObject
from groundstream.operators.utils.files import RESERVE_BYTES, check_room
from groundstream.operators.video.segment import Segment

_ORDER, _PIECES, _LOOKS, _LOCK = "job.json", "pieces.jsonl", "looks.jsonl", "lock"
#: How a look's object is written: a row in this order.
_OBJECT_FIELDS = ("track_id", "phrase", "score", "box", "state")


@dataclass(frozen=True)
class ClipJob:
    """What a job's folder holds.

    Attributes:
        order: what the clip is to be; of a run that died what it had become by then.
        pieces: the video, in the order in which it came.
        looks: what was seen.
    """

    order: ClipOrder
    pieces: tuple[Piece, ...]
    looks: tuple[Look, ...]


class JobLock:
    """Says that a living process works on a job; ends with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._file = (path / _LOCK).open("w")

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Return the lock of the job in `path`; None where another holds it or the job is gone."""
        try:
            lock = cls(path)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.release()
            return None
        return lock

    def release(self) -> None:
        """Let others have the job."""
        self._file.close()


class JobWriter:
    """Fills a job's folder while its clip goes on; one thread's."""

    def __init__(self, path: Path) -> None:
        """Begin the job in the new folder `path`.

        Raises:
            OSError: it cannot be written.
        """
        path.mkdir(parents=True)
        self.path = path
        self._lock = JobLock.of(path)
        #: How many pieces it has.
        self.pieces = 0
        self._files = 0
        self._listed: IO[str] = (path / _PIECES).open("a", encoding="utf-8")
        self._looks: IO[str] = (path / _LOOKS).open("a", encoding="utf-8")

    def add_piece(self, segment: Segment) -> None:
        """Keep a segment's video.

        Raises:
            OSError: it cannot be written.
        """
        check_room(self.path, RESERVE_BYTES, segment.size_bytes, times=0.5)
        self._list(store(segment, self._next_file()))

    def adopt(self, other: JobWriter, from_s: float) -> None:
        """Take over what `other` has of the time after `from_s`, without a copy where the disk can do that.

        Raises:
            OSError: it cannot be written.
        """
        other._listed.flush()
        for piece in _read_pieces(other.path):
            if piece.end_s > from_s:
                path = self._next_file()
                _link_or_copy(piece.path, path)
                self._list(replace(piece, path=path))

    def add_looks(self, looks: Iterable[Look]) -> None:
        """Keep what was seen.

        Raises:
            OSError: it cannot be written.
        """
        for look in looks:
            rows = [[getattr(seen, name) for name in _OBJECT_FIELDS] for seen in look.objects]
            _append(self._looks, {"epoch": look.epoch, "time_s": look.time_s, "objects": rows})

    def save(self, order: ClipOrder) -> None:
        """Write down what the clip is to be, as far as it is known.

        Raises:
            OSError: it cannot be written.
        """
        for file in (self._listed, self._looks):
            file.flush()
        part = self.path / f"{_ORDER}.part"
        part.write_text(json.dumps(order.to_dict(), ensure_ascii=False), encoding="utf-8")
        part.replace(self.path / _ORDER)

    def end(self) -> None:
        """Let go of the job; whoever renders it may take it now."""
        for file in (self._listed, self._looks):
            file.close()
        if self._lock is not None:
            self._lock.release()

    def _next_file(self) -> Path:
        self._files += 1
        return self.path / f"{self._files:06d}.mkv"

    def _list(self, piece: Piece) -> None:
        _append(self._listed, asdict(piece) | {"path": piece.path.name})
        self._listed.flush()
        self.pieces += 1


def read_job(path: Path) -> ClipJob:
    """Return what the folder `path` holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no job, or one that never got as far as its order.
    """
    try:
        order = ClipOrder.from_dict(json.loads((path / _ORDER).read_text(encoding="utf-8")))
    except (KeyError, TypeError, FileNotFoundError) as error:
        raise ValueError(f"{path} holds no job of a clip: {error}") from error
    looks = tuple(
        Look(row["epoch"], row["time_s"], tuple(_seen(values) for values in row["objects"]))
        for row in _rows(path / _LOOKS)
    )
    return ClipJob(order, tuple(_read_pieces(path)), looks)


def remove_job(path: Path) -> None:
    """Remove a job's folder with all that is in it; one that is gone is fine."""
    shutil.rmtree(path, ignore_errors=True)


def _read_pieces(path: Path) -> Iterator[Piece]:
    for row in _rows(path / _PIECES):
        file = path / row["path"]
        if file.exists():
            yield Piece(**row | {"path": file, "times_s": tuple(row["times_s"])})


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file, without those that are cut."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            with suppress(ValueError):
                yield json.loads(line)


def _append(file: IO[str], row: dict[str, Any]) -> None:
    file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _seen(values: Sequence[Any]) -> SeenObject:
    named = dict(zip(_OBJECT_FIELDS, values, strict=True))
    return SeenObject(**named | {"box": tuple(named["box"])})


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
