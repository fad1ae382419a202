"""A mapping that keeps its order and its size: what caches and queues in memory stand on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedDict(Generic[K, V]):
    """Values in order, bounded in bytes; the oldest go to make room. Safe to use from several threads.

    One value alone may be larger than the bound: a cache or a queue that never holds the newest would answer
    nothing at all.

    Attributes:
        size_bytes: what all values take together.
        dropped: values that were given up to make room.

    Args:
        most_bytes: the bound.
    """

    def __init__(self, most_bytes: int) -> None:
        self.size_bytes = self.dropped = 0
        self._most_bytes = most_bytes
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def put(self, key: K, value: V, size_bytes: int) -> list[V]:
        """Add `value` as the newest, also where `key` was there before; return what was given up."""
        with self._lock:
            if key in self._values:
                self.size_bytes -= self._values.pop(key)[1]
            self._values[key] = value, size_bytes
            self.size_bytes += size_bytes
            given_up = []
            while self.size_bytes > self._most_bytes and len(self._values) > 1:
                _, (oldest, its_bytes) = self._values.popitem(last=False)
                self.size_bytes -= its_bytes
                given_up.append(oldest)
            self.dropped += len(given_up)
            return given_up

    def get(self, key: K, *, touch: bool = False) -> V | None:
        """Return the value of `key`, or None; with `touch` it counts as the newest from now on (LRU)."""
        with self._lock:
            found = self._values.get(key)
            if found is not None and touch:
                self._values.move_to_end(key)
            return found[0] if found is not None else None

    def remove(self, keys: Iterable[K]) -> None:
        """Take values out; keys that are not there any more are passed over."""
        with self._lock:
            for key in keys:
                if (found := self._values.pop(key, None)) is not None:
                    self.size_bytes -= found[1]

    def oldest(self, most: int) -> list[tuple[K, V]]:
        """Return up to `most` of the oldest with their keys, oldest first, without removing them."""
        with self._lock:
            return [(key, value) for key, (value, _) in islice(self._values.items(), most)]
