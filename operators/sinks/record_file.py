"""A file that only ever holds whole records, also after `kill -9` and on a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from pathlib import Path

from groundstream.operators.errors import OutputError
from groundstream.operators.sinks.base import ReaderGone
from groundstream.operators.utils.files import try_lock

#: Name that means standard output instead of a file.
STDOUT = Path("-")
# Several streams may share standard output, and a long line is not one step for a pipe.
_STDOUT_LOCK = threading.Lock()

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
    remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; choose another place")
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
