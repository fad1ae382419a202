"""How much room a disk must keep: recordings stop first, then clips; records and the index go on longest."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

#: So much is left free at most; of a small disk (a memory disk, a card) a twentieth is.
RESERVE_BYTES = 256 * 2**20
_RESERVE_PART = 20


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
