import pytest
from standing_clock import Clock

from groundstream.operators.utils.backoff import Backoff
from groundstream.pipeline.detectors.restarts import RestartBudget
from groundstream.pipeline.streams.restarts import CircuitBreaker, StreamRestarts


@pytest.fixture
def clock() -> Clock:
    return Clock()


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
