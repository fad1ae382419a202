"""When a stream whose process dies is started again, and when its source is left in peace or given up."""

from __future__ import annotations

import time
from typing import Literal

from groundstream.operators.utils.backoff import Backoff
from groundstream.pipeline.detectors.restarts import Clock, RestartBudget

MOST_IN_VAIN = 4  # deaths of a file's process without a new frame between them, until the file is given up
FAILURES = 3  # deaths in a row, without a result between them, until a source is left alone for a while


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


class StreamRestarts:
    """Decides what follows the death of a stream's process: when the next one is started, or that none is.

    A death is in vain where no frame was answered beyond all those before. What dies in vain is left alone
    for longer each time; a file that does so again and again has a frame that kills, and is given up. A
    camera never is: its next frames are others.

    Attributes:
        furthest: number of the last frame that was answered; -1 before the first.
        in_vain: deaths in vain in a row.
    """

    def __init__(self, budget: RestartBudget | None = None, breaker: CircuitBreaker | None = None) -> None:
        self._budget, self._breaker = budget or RestartBudget(), breaker or CircuitBreaker()
        self.furthest, self.in_vain = -1, 0
        self._came_further = False

    @property
    def count(self) -> int:
        """How many deaths there were."""
        return self._budget.restarts

    def reached(self, seq: int) -> None:
        """Note that the frame `seq` was answered; a process that goes on repeats some of its forerunner's."""
        if seq > self.furthest:
            self.furthest, self._came_further, self.in_vain = seq, True, 0
            self._breaker.worked()

    def next_s(self, *, live: bool) -> float | None:
        """Count a death; return the seconds to wait before the restart, None where the stream is given up."""
        self.in_vain += not self._came_further
        if self.in_vain >= MOST_IN_VAIN and not live:
            return None
        wait_s = max(self._budget.next_s(), 0.0 if self._came_further else self._breaker.failed())
        self._came_further = False
        return wait_s
