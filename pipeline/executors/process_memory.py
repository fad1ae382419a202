"""Keeps the C library from hoarding the memory of pictures that are long gone."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of <malloc.h>
_KEPT_BYTES = 128 * 1024  # what glibc starts with, before it adapts to the largest block that was freed


def return_freed_memory() -> None:
    """Have blocks of picture size go back to the system when they are freed; does nothing without glibc.

    By itself glibc learns from the first freed picture to serve the next ones from its arenas, one per
    thread, where they leave holes: a stream's process (40 threads of Ray's, av's and ours) takes 60 MB
    more that way. The price is that pages are mapped anew for each picture, 0.15 ms for half a megabyte.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for option, value in ((_MMAP_THRESHOLD, _KEPT_BYTES), (_TRIM_THRESHOLD, _KEPT_BYTES), (_ARENA_MAX, 2)):
        mallopt(option, value)
