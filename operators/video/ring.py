"""The last seconds of a stream as it came: closed groups of pictures, bounded in time and bytes."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from groundstream.operators.video.segment import Segment


@dataclass(frozen=True)
class RingCounters:
    """What a ring holds and what it could not hold.

    Attributes:
        segments: how many it holds now.
        bytes: their size.
        dropped: segments given up before their time: the ring was full, or they do not decode alone.
        dropped_bytes: their size.
    """

    segments: int
    bytes: int
    dropped: int
    dropped_bytes: int


class Ring:
    """Keeps the segments of one stream for pre-roll; safe from several threads.

    A segment stays until the consumer of the stream's frames, told by `keep_from`, is `seconds` beyond its
    end; a file's consumer may lie far behind the reader. Bytes are the hard limit: the oldest go, counted.
    Segments that do not decode alone (`keyed` is False) are not kept.

    Args:
        seconds: how far before the consumer's frame the ring reaches, at least.
        most_bytes: size of all segments that may not be passed.
    """

    def __init__(self, seconds: float, most_bytes: int) -> None:
        if seconds < 0 or most_bytes < 1:
            raise ValueError(
                f"expected seconds >= 0 and most_bytes >= 1, but got {seconds} s and {most_bytes} bytes"
            )
        self._seconds, self._most_bytes = seconds, most_bytes
        self._segments: deque[Segment] = deque()
        self._bytes = self._dropped = self._dropped_bytes = 0
        self._told: tuple[int, float] | None = None
        self._lock = threading.Lock()

    def add(self, segment: Segment) -> None:
        """Append a segment; one that does not decode alone is only counted."""
        with self._lock:
            if not segment.keyed:
                self._count_dropped(segment)
                return
            self._segments.append(segment)
            self._bytes += segment.size_bytes
            while self._bytes > self._most_bytes:
                self._count_dropped(self._pop())
            self._trim()

    def cut(self, start_s: float, end_s: float, epoch: int) -> list[Segment]:
        """Return the segments with pictures in [start_s, end_s) of `epoch`, in order.

        The first one begins at the key frame from which `start_s` can be decoded, as far as the ring reaches.
        """
        with self._lock:
            return [s for s in self._segments if s.epoch == epoch and s.end_s > start_s and s.start_s < end_s]

    def keep_from(self, time_s: float, epoch: int) -> None:
        """Hear that the consumer has come to `time_s` of `epoch`; what lies `seconds` before it may go."""
        with self._lock:
            self._told = (epoch, time_s)
            self._trim()

    @property
    def counters(self) -> RingCounters:
        """A snapshot of the counters."""
        with self._lock:
            return RingCounters(len(self._segments), self._bytes, self._dropped, self._dropped_bytes)

    def _trim(self) -> None:
        if not self._segments:
            return
        newest = self._segments[-1]
        epoch, time_s = self._told or (newest.epoch, newest.end_s)
        while self._segments:
            oldest = self._segments[0]
            needed = oldest.epoch > epoch or (oldest.epoch == epoch and oldest.end_s > time_s - self._seconds)
            if needed:
                return
            self._pop()

    def _pop(self) -> Segment:
        oldest = self._segments.popleft()
        self._bytes -= oldest.size_bytes
        return oldest

    def _count_dropped(self, segment: Segment) -> None:
        self._dropped += 1
        self._dropped_bytes += segment.size_bytes
