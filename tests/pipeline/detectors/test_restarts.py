import pytest
from standing_clock import Clock

from groundstream.operators.utils.backoff import Backoff
from groundstream.pipeline.detectors.restarts import RestartBudget


@pytest.fixture
def clock() -> Clock:
    return Clock()


def waits_of(budget: RestartBudget, clock: Clock, deaths: int) -> list[float]:
    """Let a part die as soon as it has been started, `deaths` times."""
    waits = []
    for _ in range(deaths):
        waits.append(budget.next_s())
        clock.now_s += waits[-1]
    return waits


def test_the_wait_grows_with_every_death(clock: Clock) -> None:
    waits = waits_of(RestartBudget(100, Backoff(1.0, 1000.0), clock), clock, 6)
    for number, wait_s in enumerate(waits):
        assert 0.5 * 2**number <= wait_s <= 2**number


@pytest.mark.parametrize("per_minute", [1, 2, 5])
def test_never_more_starts_in_a_minute_than_allowed(clock: Clock, per_minute: int) -> None:
    budget = RestartBudget(per_minute, Backoff(0.01, 0.02), clock)
    starts = []
    for _ in range(4 * per_minute):
        clock.now_s += budget.next_s()
        starts.append(clock.now_s)
    for first, later in zip(starts, starts[per_minute:], strict=False):
        assert later - first >= 59.99
    assert budget.restarts == 4 * per_minute


def test_a_quiet_minute_makes_the_wait_small_again(clock: Clock) -> None:
    budget = RestartBudget(100, Backoff(1.0, 1000.0), clock)
    waits_of(budget, clock, 5)
    clock.now_s += 61
    assert budget.next_s() <= 1.0


def test_wrong_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 restart per minute, but got 0"):
        RestartBudget(0)
