"""Lets only a few renderers of a machine work at the same time, of however many streams and runs."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CORES_EACH = 4  # so many cores of a machine for each renderer at work
_LOOK_S = 0.2


@contextmanager
def render_turn(while_waiting: Callable[[], None]) -> Iterator[None]:
    """Wait until one of the machine's places is free, and hold it; a dead holder's is free.

    Where no lock can be made, nobody waits. `while_waiting` is called now and then.
    """
    places = max(1, (os.cpu_count() or 1) // CORES_EACH)
    try:
        locks = [
            os.open(_lock_file(place), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
            for place in range(places)
        ]
    except OSError:
        yield
        return
    try:
        while not any(_taken(lock) for lock in locks):
            while_waiting()
            time.sleep(_LOOK_S)
        yield
    finally:
        for lock in locks:
            os.close(lock)


def _lock_file(place: int) -> Path:
    return Path(tempfile.gettempdir()) / f"groundstream-render-{os.getuid()}-{place}.lock"


def _taken(lock: int) -> bool:
    """Take a lock if it is free; tell whether it was."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
