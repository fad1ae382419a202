"""How long to wait before the next attempt."""

from __future__ import annotations

import random


class Backoff:
    """Exponential growth with jitter, between bounds.

    The n-th delay is drawn from the upper half of `low_s * 2**n`, so that many cameras behind one failed
    switch do not come back in the same instant.
    """

    def __init__(self, low_s: float = 0.5, high_s: float = 30.0, rng: random.Random | None = None) -> None:
        if not 0 < low_s <= high_s:
            raise ValueError(f"expected 0 < low_s <= high_s, but got {low_s} and {high_s}")
        self._low_s, self._high_s = low_s, high_s
        self._rng = rng or random.Random()  # noqa: S311 -- jitter, not a secret
        self._failures = 0

    def next_s(self) -> float:
        """Return the seconds to wait before the next attempt; grows with each call until `reset`."""
        # The exponent is bounded: 2.0**1100 would overflow after a week of failures.
        longest = min(self._high_s, self._low_s * 2.0 ** min(self._failures, 60))
        self._failures += 1
        return longest * self._rng.uniform(0.5, 1.0)

    def slowest_s(self) -> float:
        """Return a delay at the slow end, for failures that only a person can mend (a wrong password)."""
        return self._high_s * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start from the low end again, after things went well for a while."""
        self._failures = 0
