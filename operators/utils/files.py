"""Files: locks, room on the disk, whole replacement, and one that plays up to where its disk failed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

#: So much is left free at most; of a small disk (a memory disk, a card) a twentieth is. Recordings stop
#: first, then clips; records and the index go on longest.
RESERVE_BYTES = 256 * 2**20
_RESERVE_PART = 20
#: Boxes of MP4 and how many bytes their header takes.
_BOX_HEADER_BYTES = 8
_FLAGS = os.O_RDWR | getattr(os, "O_BINARY", 0)


class GuardedFile:
    """A file for libav to write, locked while it is open; after the first failed write no other is tried.

    Formats that patch their beginning when they end would otherwise spoil a file whose end did not fit.

    Args:
        path: a new file.

    Raises:
        OSError: it is there already, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: OSError | None = None
        self._descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        self.closed = False
        try_lock(self._descriptor)

    def write(self, data: bytes) -> int:
        """Write all of `data`.

        Raises:
            OSError: there is no room, or the disk fails; also for every write after that.
        """
        if self.failure is not None:
            raise self.failure
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            self.failure = error
            raise
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to `offset`."""
        return os.lseek(self._descriptor, offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)

    def sync(self) -> None:
        """Wait until the disk has it.

        Raises:
            OSError: the disk fails.
        """
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file and let go of the lock; may be called twice."""
        if not self.closed:
            self.closed = True
            os.close(self._descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file for its writer; False when another one holds it."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold the lock of a file that is there; False where its writer is alive, or another one holds it.

    Raises:
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        yield try_lock(file.fileno())


def cut_to_whole_boxes(path: Path) -> None:
    """Cut an MP4 file that ends in the middle of a fragment back to its last whole one.

    Raises:
        OSError: it cannot be read or cut.
    """
    with path.open("r+b") as file:
        size, end, whole = os.fstat(file.fileno()).st_size, 0, 0
        while end + _BOX_HEADER_BYTES <= size:
            file.seek(end)
            header = file.read(2 * _BOX_HEADER_BYTES)
            length = int.from_bytes(header[:4], "big")
            if length == 1:  # a box of more than 4 GB has its length behind its name
                length = int.from_bytes(header[8:16], "big")
            end += length
            if length < _BOX_HEADER_BYTES or end > size:
                break
            # A fragment is a `moof` with its `mdat`.
            whole = whole if header[4:8] == b"moof" else end
        file.truncate(whole)


def check_room(folder: Path, reserve_bytes: int, extra_bytes: int = 0, times: float = 1.0) -> None:
    """Refuse to write where too little is free.

    Args:
        folder: where something is to be written.
        reserve_bytes: room that is left free, or a twentieth of the disk where that is less.
        extra_bytes: further room that is needed.
        times: the reserve counts so often.

    Raises:
        OSError: there is less (ENOSPC), or the folder cannot be looked at.
    """
    disk = shutil.disk_usage(folder)
    reserve_bytes = min(reserve_bytes, disk.total // _RESERVE_PART)
    if disk.free < times * reserve_bytes + extra_bytes:
        raise OSError(errno.ENOSPC, f"the disk is full: {disk.free / 1e6:.1f} MB are left")


def replace_text(path: Path, text: str) -> None:
    """Write a file as a whole: whoever reads it, also after `kill -9`, finds the old text or the new one.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def explain(error: BaseException) -> str:
    """Return why a file or an address could not be used, in the system's words, without number and path."""
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
