"""How frames cross from the thread that reads to the one that works: newest wins, or all in order."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from dataclasses import replace
from types import MappingProxyType

from groundstream.operators.frames import Frame


class FrameQueue(ABC):
    """A bounded queue in which frames wait for their consumer; counts what was lost on the way.

    Attributes:
        dropped: frames lost since the start, by reason.
    """

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._change = threading.Condition()
        self._finished = False
        self._closed = False
        self._last_seq = -1

    @abstractmethod
    def put(self, frame: Frame) -> bool:
        """Hand over `frame`; False when nobody will take it any more."""

    @abstractmethod
    def take(self) -> Frame | None:
        """Wait for a frame and return it with what was lost before it; None after the last one."""

    def lose(self, reason: str, count: int = 1) -> None:
        """Count frames that were lost before they could be put; the next frame says so."""
        with self._change:
            self._count_lost(reason, count)

    def finish(self) -> None:
        """Say that no more frames come; those that wait can still be taken."""
        with self._change:
            self._finished = True
            self._change.notify_all()

    def close(self) -> None:
        """Forget what waits; `put` and `take` return at once, now and later."""
        with self._change:
            self._closed = self._finished = True
            self._forget()
            self._change.notify_all()

    @abstractmethod
    def _forget(self) -> None:
        """Let go of the frames that wait."""

    def _count_lost(self, reason: str, count: int) -> None:
        self.dropped[reason] += count
        self._lost[reason] += count

    def _is_late(self, frame: Frame) -> bool:
        """Tell whether `frame` comes from a reader that was given up; it must not follow newer ones."""
        late = frame.seq <= self._last_seq
        self._last_seq = max(frame.seq, self._last_seq)
        return late

    def _with_losses(self, frame: Frame) -> Frame:
        if not self._lost:
            return frame
        losses, self._lost = MappingProxyType(dict(self._lost)), Counter()
        return replace(frame, dropped=losses)


class LatestQueue(FrameQueue):
    """One place; a new frame replaces the one that waits (counted as `newer_frame`). `put` never waits."""

    def __init__(self) -> None:
        super().__init__()
        self._frame: Frame | None = None

    def put(self, frame: Frame) -> bool:
        """Let `frame` wait in place of an older one."""
        with self._change:
            if self._closed or self._is_late(frame):
                return False
            if self._frame is not None:
                self._count_lost("newer_frame", 1)
            self._frame = frame
            self._change.notify_all()
            return True

    def take(self) -> Frame | None:
        """Wait for a frame; its `dropped` says what was lost since the last one that was taken."""
        with self._change:
            self._change.wait_for(lambda: self._frame is not None or self._finished)
            frame, self._frame = self._frame, None
            return None if frame is None else self._with_losses(frame)

    def _forget(self) -> None:
        self._frame = None


class FifoQueue(FrameQueue):
    """Up to `size` frames in order; `put` waits while it is full, so nothing is lost."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"expected room for at least one frame, but got {size}")
        super().__init__()
        self._size = size
        self._frames: deque[Frame] = deque()

    def put(self, frame: Frame) -> bool:
        """Append `frame` as soon as there is room."""
        with self._change:
            self._change.wait_for(lambda: len(self._frames) < self._size or self._closed)
            if self._closed or self._is_late(frame):
                return False
            self._frames.append(self._with_losses(frame))
            self._change.notify_all()
            return True

    def take(self) -> Frame | None:
        """Wait for the oldest frame; its `dropped` says what was lost between it and the one before."""
        with self._change:
            self._change.wait_for(lambda: self._frames or self._finished)
            if not self._frames:
                return None
            self._change.notify_all()
            return self._frames.popleft()

    def _forget(self) -> None:
        self._frames.clear()
