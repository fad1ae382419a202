from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from dying_processes import DyingDetector

from groundstream.models.types import Prompt
from groundstream.operators.errors import DetectorUnavailable
from groundstream.operators.utils.backoff import Backoff
from groundstream.pipeline.detectors.messages import ProcessLost
from groundstream.pipeline.detectors.pool import DetectorPool
from groundstream.pipeline.detectors.restarts import RestartBudget

PROMPT = Prompt.of(["red car", "blue bus"])


class Spawner:
    """Starts detectors where the gate is open, and remembers them; those that are to fail die in loading."""

    def __init__(self) -> None:
        self.all: list[DyingDetector] = []
        self.fail = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, name: str) -> DyingDetector:
        assert self.gate.wait(60)
        failing, self.fail = self.fail > 0, max(0, self.fail - 1)
        self.all.append(DyingDetector(name, loads=not failing))
        return self.all[-1]


def quick_budget() -> RestartBudget:
    return RestartBudget(1000, Backoff(0.001, 0.002))


@pytest.fixture
def spawn() -> Spawner:
    return Spawner()


@pytest.fixture
def pools(spawn: Spawner) -> Iterator[Callable[[int], DetectorPool]]:
    made: list[DetectorPool] = []

    def make(count: int) -> DetectorPool:
        made.append(DetectorPool(spawn, count, quick_budget))
        made[-1].begin()
        made[-1].wait()
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def wait_for(is_reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def links_of(pool: DetectorPool, streams: str) -> list[object]:
    return [pool.link_for(stream) for stream in streams]


def test_a_prompt_is_encoded_once_for_all_detectors(
    spawn: Spawner, pools: Callable[[int], DetectorPool]
) -> None:
    pool = pools(3)
    pool.prepare(PROMPT)
    for detector in spawn.all:
        detector.prepare(PROMPT)
    pool.prepare(Prompt.of(["blue bus", "dog"]))
    assert sorted(phrase for each in spawn.all for phrase in each.grounder.encoded) == [
        "blue bus",
        "dog",
        "red car",
    ]


def test_a_detector_that_takes_anothers_place_is_handed_what_was_encoded(
    spawn: Spawner, pools: Callable[[int], DetectorPool]
) -> None:
    pool = pools(1)
    pool.prepare(PROMPT)
    spawn.all[0].die()
    wait_for(lambda: len(spawn.all) == 2 and pool.link_for("a") is spawn.all[1])
    spawn.all[1].prepare(PROMPT)
    assert spawn.all[1].grounder.encoded == []
    assert pool.health()[0].restarts == 1


def test_streams_go_to_the_least_loaded_and_stay(pools: Callable[[int], DetectorPool]) -> None:
    pool = pools(2)
    first = links_of(pool, "abcd")
    assert [first.count(link) for link in set(first)] == [2, 2]
    assert links_of(pool, "abcd") == first
    pool.release("a")
    assert pool.link_for("e") is first[0]
    assert sorted(health.streams for health in pool.health()) == [2, 2]


def test_streams_of_a_dead_detector_move_at_once_and_come_back_into_balance(
    spawn: Spawner, pools: Callable[[int], DetectorPool]
) -> None:
    pool = pools(2)
    links_of(pool, "abcd")
    spawn.gate.clear()
    spawn.all[0].die()
    wait_for(lambda: set(links_of(pool, "abcd")) == {spawn.all[1]})
    spawn.gate.set()
    wait_for(lambda: len(set(links_of(pool, "abcd"))) == 2)
    assert sorted(health.streams for health in pool.health()) == [2, 2]


def test_a_detector_that_can_never_be_loaded_again_is_given_up(
    spawn: Spawner, pools: Callable[[int], DetectorPool]
) -> None:
    pool = pools(1)
    spawn.fail = 1000
    spawn.all[0].die()

    def given_up() -> bool:
        try:
            return pool.link_for("a") is not None and False
        except DetectorUnavailable as error:
            return "no detector can be started: it died while it loaded" in str(error)

    wait_for(given_up)
    with pytest.raises(DetectorUnavailable, match="no detector is there"):
        pool.prepare(PROMPT)


def test_a_detector_that_dies_at_the_start_is_told(spawn: Spawner) -> None:
    spawn.fail = 1
    pool = DetectorPool(spawn, 1, quick_budget)
    pool.begin()
    with pytest.raises(ProcessLost, match="while it loaded"):
        pool.wait()
    pool.close()
