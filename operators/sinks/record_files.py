"""Records in files that only ever hold whole ones, also after `kill -9` and on a full disk.

`RecordFile` is such a file, or standard output; below it stand the formats that are written line by line.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import stat
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from groundstream.operators.errors import OutputError
from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult
from groundstream.operators.records.detection import (
    confirmed,
    json_bytes,
    number_of,
    shared_json,
    shared_record,
)
from groundstream.operators.records.event import event_record
from groundstream.operators.records.mot import to_mot
from groundstream.operators.sinks.base import ReaderGone, Sink
from groundstream.operators.utils.files import explain, try_lock

#: Name that means standard output instead of a file.
STDOUT = Path("-")
# Several streams may share standard output, and a long line is not one step for a pipe.
_STDOUT_LOCK = threading.Lock()

#: Supervision's columns, then ours.
CSV_COLUMNS = (
    *("x_min", "y_min", "x_max", "y_max", "class_id", "confidence", "tracker_id"),
    *("stream_id", "epoch", "seq", "time_s", "wall_time", "phrase", "track_id", "age_s", "interpolated"),
)

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)

_REMEDIES = {
    errno.ENOSPC: "the disk is full; what was written is kept, free some space or choose another place",
    errno.EDQUOT: "the quota is used up; what was written is kept, free some space or choose another place",
    errno.EFBIG: "the file may not grow further; what was written is kept, raise the limit (ulimit -f)",
    errno.EISDIR: "it is a folder; name a file in it",
    errno.ENOTDIR: "a part of its path is a file; choose another place",
    errno.EEXIST: "a part of its path is a file; choose another place",
    errno.EACCES: "there is no permission to write there; choose another place",
    errno.EPERM: "there is no permission to write there; choose another place",
    errno.EROFS: "that file system is read-only; choose another place",
}


def output_error(path: Path, error: OSError) -> OutputError:
    """Return `error` as one sentence: what, where, what to do."""
    remedy = _REMEDIES.get(error.errno or 0, f"{explain(error)}; choose another place")
    return OutputError(f"cannot write {path}: {remedy}")


class RecordFile:
    """Appends whole records to a new file, or to standard output.

    Each record goes to the operating system before `write` returns, so that it outlives this process. One
    that could be written only in part is taken back. An old file is replaced, or cut and continued; one
    that is being written by somebody else is refused.

    Args:
        path: the file, `STDOUT` for standard output; missing folders are made.
        keep_bytes: so much of an old file is kept.

    Raises:
        OutputError: the file cannot be opened.
    """

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        self._path = path
        self._lock = _STDOUT_LOCK if path == STDOUT else threading.Lock()
        self._descriptor: int | None = 1 if path == STDOUT else _open(path, keep_bytes)
        self._regular = path != STDOUT and stat.S_ISREG(os.fstat(self._descriptor).st_mode)

    def write_text(self, text: str) -> None:
        """Append `text` in UTF-8 as `write` does; what is no UTF-8 in a name is escaped as JSON does it.

        Raises:
            OutputError: see `write`.
        """
        self.write(text.encode("utf-8", "backslashreplace"))

    def write(self, data: bytes) -> None:
        """Append `data`, all of it or nothing.

        Raises:
            OutputError: there is no room, or the place has gone.
            ReaderGone: standard output or a named pipe has no reader any more.
        """
        assert self._descriptor is not None, "write after close"
        rest = memoryview(data)
        try:
            with self._lock:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
        except BrokenPipeError:
            raise ReaderGone(f"nobody reads {self._path} any more") from None
        except OSError as error:
            if self._regular:
                _take_back(self._descriptor, len(data) - len(rest))
            raise output_error(self._path, error) from error

    def close(self) -> None:
        """Close the file (never standard output); may be called twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None and self._path != STDOUT:
            try:
                os.close(descriptor)
            except OSError as error:  # network file systems report a full disk only here
                raise output_error(self._path, error) from error


def _take_back(descriptor: int, count: int) -> None:
    """Remove the last `count` bytes, the part of a record that did not fit."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - count)


def _open(path: Path, keep_bytes: int) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, _FLAGS, 0o666)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                if not try_lock(descriptor):  # before anything in it is touched
                    raise OutputError(
                        f"{path} is being written by another stream or run; give each its own, for example "
                        "with {stream} in the name"
                    )
                os.ftruncate(descriptor, keep_bytes)
        except BaseException:
            os.close(descriptor)
            raise
    except OSError as error:
        raise output_error(path, error) from error
    return descriptor


class RecordFileSink(Sink):
    """A sink that writes text to one `RecordFile`.

    Args:
        path: the file; `-` is standard output.
        keep_bytes: so much of an old file is kept, and continued.

    Raises:
        OutputError: the file cannot be opened.
    """

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        self._file = RecordFile(path, keep_bytes)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()


class JsonlSink(RecordFileSink):
    """Writes records of frames (`groundstream.detection/1`, objects of every state) and of events.

    Each is one line, which is with the operating system when the call returns.

    Args:
        path: the file; `-` is standard output.
        keep_bytes: so much of an old file is kept, and continued.
        only: the one kind of records that the file is for; None writes both, in the order in which they come.

    Raises:
        OutputError: the file cannot be opened.
    """

    name = "jsonl"

    def __init__(
        self, path: Path, keep_bytes: int = 0, only: Literal["detections", "events"] | None = None
    ) -> None:
        super().__init__(path, keep_bytes)
        self._only = only

    def write(self, result: FrameResult) -> None:
        """Write the record of a frame."""
        if self._only != "events":
            self._file.write(shared_json(result) + b"\n")

    def write_event(self, event: Event) -> None:
        """Write the record of a message about an event."""
        if self._only != "detections":
            self._file.write(json_bytes(event_record(event)) + b"\n")


class CsvSink(RecordFileSink):
    """Writes the table that supervision's `CSVSink` makes, with columns of ours behind.

    `class_id` is the number of the phrase in the prompt of that frame, from 0; `tracker_id` the track's
    number as `records.detection.track_number` gives it. Pixels are xyxy from the top left corner.
    """

    name = "csv"

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        super().__init__(path, keep_bytes)
        if not keep_bytes:
            self._file.write_text(_csv_lines([CSV_COLUMNS]))

    def write(self, result: FrameResult) -> None:
        """Write one row per confirmed object."""
        made, phrases = shared_record(result), result.prompt.phrases
        of_frame = [made[name] for name in ("stream_id", "epoch", "seq", "time_s", "wall_time")]
        rows = [
            (
                *(*each["box"], phrases.index(each["phrase"]), each["score"], number_of(each)),
                *(*of_frame, each["phrase"], each["track_id"], each["age_s"], each["interpolated"]),
            )
            for each in confirmed(made)
        ]
        if rows:
            self._file.write_text(_csv_lines(rows))


def _csv_lines(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


class MotSink(RecordFileSink):
    """Writes MOTChallenge text, one line per confirmed object, as `records.mot.to_mot` has it."""

    name = "mot"

    def write(self, result: FrameResult) -> None:
        """Write one line per confirmed object."""
        if lines := to_mot(shared_record(result)):
            self._file.write_text("\n".join(lines) + "\n")
