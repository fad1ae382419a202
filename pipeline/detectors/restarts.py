"""How often a part that dies is started again, and when a source that keeps failing is left in peace."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from groundstream.operators.utils.backoff import Backoff

MINUTE_S = 60.0
PER_MINUTE = 6  # more restarts of one part in a minute mend nothing and cost the others their cores
FAILURES = 3  # deaths in a row, without a result between them, until a source is left alone for a while

Clock = Callable[[], float]


class RestartBudget:
    """Says how long to wait before a part that died is started again.

    The wait grows with every death and starts small again after a quiet minute; a part that used up its
    restarts of the minute waits until the oldest of them is a minute old. It never gives up: that is the
    circuit breaker's or the caller's decision.
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


class CircuitBreaker:
    """Leaves a source alone that killed its process several times in a row without giving a result.

    `closed`: go on. `open`: wait, each time longer. `half_open`: the wait is over and one attempt is under
    way; a result closes the circuit, a death opens it for a longer time.
    """

    def __init__(
        self, failures: int = FAILURES, backoff: Backoff | None = None, clock: Clock = time.monotonic
    ) -> None:
        if failures < 1:
            raise ValueError(f"expected at least 1 failure before the circuit opens, but got {failures}")
        self._limit, self._clock = failures, clock
        self._backoff = backoff or Backoff(low_s=30.0, high_s=600.0)
        self._in_a_row = 0
        self._until: float | None = None

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """Whether attempts are made."""
        if self._until is None:
            return "closed"
        return "open" if self._clock() < self._until else "half_open"

    def failed(self) -> float:
        """Count a failure; return the seconds for which no attempt is to be made, 0 while closed."""
        self._in_a_row += 1
        if self._in_a_row < self._limit:
            return 0.0
        wait_s = self._backoff.next_s()
        self._until = self._clock() + wait_s
        return wait_s

    def worked(self) -> None:
        """Close the circuit: the source gave a result."""
        if self._in_a_row:
            self._in_a_row, self._until = 0, None
            self._backoff.reset()
