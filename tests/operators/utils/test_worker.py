import threading

import pytest

from groundstream.operators.utils.worker import Worker


class Gate:
    """Holds a worker's thread in its first item until it is opened."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()
        self.done: list[int] = []

    def handle(self, item: int) -> None:
        self.entered.set()
        assert self.opened.wait(30)
        self.done.append(item)


def test_in_order_then_finished() -> None:
    done: list[object] = []
    worker = Worker[int]("w", done.append, finish=lambda: done.append("finished"))
    assert all(worker.put(item) for item in range(100))
    assert worker.close(30)
    assert worker.close(30)
    assert done == [*range(100), "finished"]
    assert (worker.waiting, worker.dropped) == (0, 0)


def test_bounded_in_bytes_and_what_has_no_size_always_fits() -> None:
    gate = Gate()
    worker = Worker("w", gate.handle, most_bytes=10)
    assert worker.put(1, 6)
    assert gate.entered.wait(30)
    assert not worker.put(2, 6)  # the one in hand takes its memory still
    assert worker.put(3, 4)
    assert worker.put(4)
    assert (worker.waiting, worker.dropped) == (3, 1)
    gate.opened.set()
    worker.close(30)
    assert gate.done == [1, 3, 4]


def test_after_close_items_are_refused() -> None:
    worker = Worker[int]("w", lambda _: None)
    worker.close(30)
    assert not worker.put(1)
    assert worker.dropped == 1


def test_one_that_fails_costs_itself_only(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    def handle(item: int) -> None:
        if item == 1:
            raise RuntimeError("one is odd")
        done.append(item)

    worker = Worker("the worker", handle)
    for item in range(3):
        worker.put(item)
    worker.close(30)
    assert done == [0, 2]
    assert "the worker failed" in caplog.text


def test_a_slow_item_outlasts_the_patience_and_what_waits_can_be_abandoned() -> None:
    gate = Gate()
    worker = Worker("w", gate.handle)
    worker.put(1)
    assert gate.entered.wait(30)
    worker.put(2)
    assert not worker.close(0.01)
    assert worker.abandon() == 1
    gate.opened.set()
    assert worker.close(30)
    assert gate.done == [1]


def test_idle_is_called_while_nothing_comes() -> None:
    idle, done = threading.Semaphore(0), threading.Event()
    worker = Worker[None]("w", lambda _: done.set(), idle=idle.release, idle_s=0.01)
    assert idle.acquire(timeout=30)
    assert idle.acquire(timeout=30)
    worker.put(None)
    assert done.wait(30)
    assert worker.close(30)


def test_closing_from_its_own_thread_does_not_hang() -> None:
    answers: list[bool] = []
    worker = Worker[int]("w", lambda _: answers.append(worker.close(30)))
    worker.put(1)
    assert worker.close(30)
    assert answers == [False]
