"""Medians and tails of what was measured lately, in bounded memory."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = 1024  # samples that the quantiles are taken from: ten of them lie above p99


@dataclass(frozen=True)
class Quantiles:
    """Quantiles of the last samples, count and total of all; in the unit of the samples.

    Attributes:
        p50: median; 0 while there is no sample, as the other two.
        p95: 19 of 20 samples are at most this.
        p99: 99 of 100 samples are at most this.
        count: samples since the start.
        total: sum of the samples since the start.
    """

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    count: int = 0
    total: float = 0.0


NO_SAMPLES = Quantiles()


class SlidingQuantiles:
    """Exact quantiles (nearest rank) over the last `window` samples; safe from several threads.

    Adding costs less than a microsecond, reading sorts the window. An estimator such as P2 or t-digest
    would forget nothing: after a bad hour its p99 would stay bad for hours.
    """

    def __init__(self, window: int = WINDOW) -> None:
        if window < 1:
            raise ValueError(f"expected a window of at least 1 sample, but got {window}")
        self._last: deque[float] = deque(maxlen=window)
        self._count, self._total = 0, 0.0
        self._lock = threading.Lock()

    def add(self, sample: float) -> None:
        """Take one sample; the oldest one leaves a full window."""
        with self._lock:
            self._last.append(sample)
            self._count += 1
            self._total += sample

    def read(self) -> Quantiles:
        """Return the quantiles of the window."""
        with self._lock:
            last, count, total = list(self._last), self._count, self._total
        if not last:
            return NO_SAMPLES
        last.sort()
        return Quantiles(_rank(last, 0.50), _rank(last, 0.95), _rank(last, 0.99), count, total)


def _rank(ordered: Sequence[float], part: float) -> float:
    """Return the smallest sample that at least `part` of all samples do not exceed."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
