"""Text features that come from and go to other detectors by hand, in front of a store or none."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from groundstream.operators.text.stores import TextStore

HANDED_BYTES = 64 * 2**20


class HandedTexts:
    """A store that keeps what is handed to it, and hands out what went through it.

    The detectors of one run each have one: what the first of them encodes or finds in the shared store is
    handed to the others, so that the cluster encodes a prompt once also without a store, or while none
    can be reached. Safe to use from several threads.

    Args:
        store: what is asked where nothing was handed in; None for nothing.
        most_bytes: bound of what is kept; the oldest goes first.
    """

    def __init__(self, store: TextStore | None, most_bytes: int = HANDED_BYTES) -> None:
        self.place = store.place if store is not None else "this detector"
        self._store, self._most_bytes = store, most_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._fresh: dict[str, bytes] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def hand_in(self, values: Mapping[str, bytes]) -> None:
        """Keep what another detector has handed out."""
        with self._lock:
            self._keep(values)

    def hand_out(self) -> dict[str, bytes]:
        """Return what came from the store or from the model since the last call."""
        with self._lock:
            fresh, self._fresh = self._fresh, {}
            return fresh

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the values that are there; the store is asked for those that were not handed in."""
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
        missing = [key for key in keys if key not in found]
        if missing and self._store is not None:
            stored = self._store.get_many(missing)
            self._take(stored)
            found |= stored
        return found

    def put_many(self, values: Mapping[str, bytes]) -> None:
        """Keep `values`, here and in the store."""
        self._take(values)
        if self._store is not None:
            self._store.put_many(values)

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()

    def _take(self, values: Mapping[str, bytes]) -> None:
        with self._lock:
            self._keep(values)
            self._fresh |= {key: value for key, value in values.items() if key in self._kept}

    def _keep(self, values: Mapping[str, bytes]) -> None:
        for key, value in values.items():
            self._bytes += len(value) - len(self._kept.pop(key, b""))
            self._kept[key] = value
        while self._bytes > self._most_bytes:
            oldest, value = self._kept.popitem(last=False)
            self._bytes -= len(value)
            self._fresh.pop(oldest, None)
