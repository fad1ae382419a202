"""A thread behind a bounded queue: how what must not wait for a disk or a process hands its work on."""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Worker(Generic[T]):
    """Handles items one after the other, in the order in which they were put, in a thread of its own.

    What waits is bounded in bytes: an item that has a size and does not fit is refused, never an older one
    given up, because items build on those before them. Items without a size (an end, a name) always fit,
    so that nothing stays open because a disk was slow.

    Attributes:
        dropped: items that were refused.

    Args:
        name: the thread's name.
        handle: does one item, in the thread; what it raises is logged and costs that item only.
        most_bytes: what waits, and what is being handled, may take together.
        finish: called in the thread once all is done.
        idle: called in the thread when nothing has come for `idle_s` seconds, again and again.
        idle_s: seconds; without `idle` of no use.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[T], None],
        *,
        most_bytes: float = math.inf,
        finish: Callable[[], None] | None = None,
        idle: Callable[[], None] | None = None,
        idle_s: float | None = None,
    ) -> None:
        self.dropped = 0
        self._handle, self._most_bytes, self._finish = handle, most_bytes, finish
        self._idle, self._idle_s = idle, idle_s if idle is not None else None
        self._items: deque[tuple[T, int]] = deque()
        self._bytes, self._busy, self._closing = 0, False, False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many items are not done yet, the one in hand among them."""
        with self._change:
            return len(self._items) + self._busy

    def put(self, item: T, size_bytes: int = 0) -> bool:
        """Have `item` handled after those before it; returns at once, safe from any thread.

        Returns:
            False where it was refused: it does not fit, or the worker is closing.
        """
        with self._change:
            if self._closing or (size_bytes and self._bytes + size_bytes > self._most_bytes):
                self.dropped += 1
                return False
            self._items.append((item, size_bytes))
            self._bytes += size_bytes
            self._change.notify_all()
            return True

    def close(self, timeout_s: float | None = None) -> bool:
        """Handle what waits, then end the thread; may be called twice, and from the thread itself.

        Returns:
            False where that takes longer than `timeout_s` seconds; it goes on.
        """
        with self._change:
            self._closing = True
            self._change.notify_all()
        if threading.current_thread() is self._thread:
            return False
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def abandon(self) -> int:
        """Give up what waits without handling it; return how many items that were."""
        with self._change:
            left = len(self._items)
            self._bytes -= sum(size_bytes for _, size_bytes in self._items)
            self._items.clear()
            return left

    def _run(self) -> None:
        while self._next():
            pass
        if self._finish is not None:
            self._guarded(self._finish)

    def _next(self) -> bool:
        """Wait for an item and handle it; False when all is done."""
        with self._change:
            if not self._change.wait_for(lambda: self._items or self._closing, self._idle_s):
                item = None
            elif self._items:
                item = self._items.popleft()
                self._busy = True
            else:
                return False
        if item is None:
            assert self._idle is not None  # only then does waiting end by itself
            self._guarded(self._idle)
            return True
        self._guarded(lambda: self._handle(item[0]))
        with self._change:
            # The size counts until here: an item that a slow disk is writing takes its memory still.
            self._bytes -= item[1]
            self._busy = False
            self._change.notify_all()
        return True

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:
            _log.exception("%s failed in a way that should not happen", self._thread.name)
