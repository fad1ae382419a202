import pytest

from groundstream.operators.utils.backoff import Backoff
from groundstream.pipeline.detectors.restarts import CircuitBreaker, RestartBudget, StreamRestarts


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


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


def test_the_circuit_opens_after_failures_in_a_row(clock: Clock) -> None:
    breaker = CircuitBreaker(3, Backoff(10.0, 1000.0), clock)
    assert [breaker.failed(), breaker.failed(), breaker.state] == [0.0, 0.0, "closed"]
    wait_s = breaker.failed()
    assert 5.0 <= wait_s <= 10.0
    assert breaker.state == "open"
    clock.now_s += wait_s
    assert breaker.state == "half_open"


def test_a_death_in_half_open_opens_for_longer_and_a_result_closes(clock: Clock) -> None:
    breaker = CircuitBreaker(1, Backoff(10.0, 1000.0), clock)
    clock.now_s += breaker.failed()
    longer_s = breaker.failed()
    assert 10.0 <= longer_s <= 20.0
    assert breaker.state == "open"
    clock.now_s += longer_s
    breaker.worked()
    assert breaker.state == "closed"
    assert breaker.failed() <= 10.0  # from the low end again


def test_failures_that_are_not_in_a_row_open_nothing(clock: Clock) -> None:
    breaker = CircuitBreaker(2, clock=clock)
    for _ in range(10):
        assert breaker.failed() == 0.0
        breaker.worked()
    assert breaker.state == "closed"


def test_wrong_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 restart per minute, but got 0"):
        RestartBudget(0)
    with pytest.raises(ValueError, match="at least 1 failure before the circuit opens, but got 0"):
        CircuitBreaker(0)


def stream_restarts(clock: Clock) -> StreamRestarts:
    """Restarts of which those in vain wait a second and more from the second in a row on."""
    budget = RestartBudget(1000, Backoff(0.001, 0.002), clock)
    return StreamRestarts(budget, CircuitBreaker(2, Backoff(2.0, 100.0), clock))


def test_a_stream_that_comes_further_is_started_again_at_once(clock: Clock) -> None:
    restarts = stream_restarts(clock)
    for number in range(20):
        restarts.reached(number)
        wait_s = restarts.next_s(live=False)
        assert wait_s is not None
        assert wait_s < 0.1
    assert (restarts.count, restarts.furthest, restarts.in_vain) == (20, 19, 0)


def test_a_file_that_dies_at_one_frame_waits_longer_and_is_given_up(clock: Clock) -> None:
    restarts = stream_restarts(clock)
    restarts.reached(5)
    waits = []
    for _ in range(5):
        waits.append(restarts.next_s(live=False))
        restarts.reached(5)  # again: the frames before the one that kills come once more
    assert waits[4] is None
    assert all(wait_s is not None for wait_s in waits[:4])
    assert waits[1] < 0.1 < 1.0 <= waits[2] < waits[3]  # type: ignore[operator]
    assert (restarts.furthest, restarts.in_vain) == (5, 4)


def test_a_camera_waits_longer_but_is_never_given_up(clock: Clock) -> None:
    restarts = stream_restarts(clock)
    waits = [restarts.next_s(live=True) for _ in range(50)]
    assert None not in waits
    assert waits[-1] >= 50  # type: ignore[operator]
