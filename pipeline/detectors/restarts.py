"""How often a process that dies is started again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from groundstream.operators.utils.backoff import Backoff

MINUTE_S = 60.0
PER_MINUTE = 6  # more restarts of one part in a minute mend nothing and cost the others their cores

Clock = Callable[[], float]


class RestartBudget:
    """Says how long to wait before a part that died is started again.

    The wait grows with every death and starts small again after a quiet minute; a part that used up its
    restarts of the minute waits until the oldest of them is a minute old. It never gives up: that is the
    caller's decision.
    """

    def __init__(
        self, per_minute: int = PER_MINUTE, backoff: Backoff | None = None, clock: Clock = time.monotonic
    ) -> None:
        if per_minute < 1:
            raise ValueError(f"expected at least 1 restart per minute, but got {per_minute}")
        self._backoff = backoff or Backoff(low_s=0.1, high_s=10.0)
        self._clock = clock
        self._starts: deque[float] = deque(maxlen=per_minute)
        self.restarts = 0

    def next_s(self) -> float:
        """Count one death; return the seconds to wait before the restart."""
        now = self._clock()
        if self._starts and now - self._starts[-1] > MINUTE_S:
            self._backoff.reset()
        wait_s = self._backoff.next_s()
        if len(self._starts) == self._starts.maxlen:
            wait_s = max(wait_s, self._starts[0] + MINUTE_S - now)
        self._starts.append(now + wait_s)
        self.restarts += 1
        return wait_s
