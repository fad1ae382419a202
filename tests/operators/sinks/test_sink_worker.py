from __future__ import annotations

import json
import pickle
import threading
import time
from collections.abc import Callable

import av
import pytest
from result_factory import result, results

from groundstream.operators.errors import OutputError
from groundstream.operators.frames import FrameResult
from groundstream.operators.records import record
from groundstream.operators.records.detection import shared_json, shared_record
from groundstream.operators.sinks import ReaderGone, Sink, SinkWorker


class Memory(Sink):
    """Keeps what it is given; waits before each result while `gate` is shut, fails at `fails_at`."""

    name = "memory"

    def __init__(self, fails_at: int = -1, error: Exception | None = None) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.fails_at, self.error = fails_at, error
        self.results: list[FrameResult] = []
        self.entered = threading.Semaphore(0)
        self.threads: set[int] = set()
        self.closed = 0

    def write(self, result: FrameResult) -> None:
        self.threads.add(threading.get_ident())
        self.entered.release()
        assert self.gate.wait(20)
        if result.frame.seq == self.fails_at and self.error is not None:
            raise self.error
        self.results.append(result)

    def close(self) -> None:
        self.closed += 1

    @property
    def seqs(self) -> list[int]:
        return [result.frame.seq for result in self.results]


class Drawing(Sink):
    """A sink that needs pictures."""

    name = "drawing"
    needs_picture = True

    def __init__(self) -> None:
        self.pictures: list[object] = []

    def write(self, result: FrameResult) -> None:
        self.pictures.append(result.frame.picture)

    def close(self) -> None:
        pass


def never(name: str, error: OutputError) -> None:
    raise AssertionError(f"{name}: {error}")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_all_results_arrive_in_order_in_one_thread_and_the_sink_is_finished() -> None:
    sink = Memory()
    worker = SinkWorker(sink, capacity=4, when_full="block", on_error=never)
    for each in results([1] * 100):
        worker.put(each)
    worker.close()
    worker.close()
    assert sink.seqs == list(range(100))
    assert (len(sink.threads), sink.closed) == (1, 1)
    assert threading.get_ident() not in sink.threads
    counters = worker.counters
    assert (counters.written, counters.waiting, counters.dropped, counters.errors) == (100, 0, 0, 0)
    assert (counters.lag_s, worker.failed) == (0.0, False)


def test_block_makes_the_caller_wait_and_loses_nothing() -> None:
    sink = Memory()
    sink.gate.clear()
    worker = SinkWorker(sink, capacity=2, when_full="block", on_error=never)
    caller = threading.Thread(target=lambda: [worker.put(each) for each in results([0] * 5)])
    caller.start()
    sink.entered.acquire()
    wait_until(
        lambda: worker.counters.waiting == 3
    )  # one with the sink, two in the queue, the fourth at the door
    time.sleep(0.02)
    assert caller.is_alive()
    assert worker.counters.lag_s >= 0.02
    sink.gate.set()
    caller.join()
    worker.close()
    assert sink.seqs == [0, 1, 2, 3, 4]


def test_drop_oldest_keeps_the_newest_and_says_what_went() -> None:
    sink = Memory()
    sink.gate.clear()
    worker = SinkWorker(sink, capacity=2, when_full="drop_oldest", on_error=never)
    first, *rest = [result(0, seq=seq, dropped={"newer_frame": seq}) for seq in range(7)]
    worker.put(first)
    sink.entered.acquire()  # the sink is busy with the first one
    for each in rest:
        worker.put(each)
    assert worker.counters.dropped == 4
    sink.gate.set()
    worker.close()
    assert sink.seqs == [0, 5, 6]
    # 1 to 4 went, with the frames that they had counted themselves (1 + 2 + 3 + 4), before 5, which counts 5.
    assert sink.results[1].frame.dropped == {"memory_full": 4, "newer_frame": 15}
    assert sink.results[2].frame.dropped == {"newer_frame": 6}
    assert (worker.counters.written, worker.counters.dropped) == (3, 4)


def test_queues_hold_no_pixels_except_for_sinks_that_draw() -> None:
    given = result(2, size=(320, 180))
    memory, drawing = Memory(), Drawing()
    for sink in (memory, drawing):
        worker = SinkWorker(sink, capacity=1, when_full="block", on_error=never)
        worker.put(given)
        worker.close()
    (kept,) = memory.results
    assert kept.frame.picture is None
    assert (kept.frame.width, kept.frame.height) == (320, 180)
    assert drawing.pictures == [given.frame.picture]
    assert isinstance(given.frame.picture, av.VideoFrame)


def test_sinks_share_one_record_and_its_bytes_unless_one_has_lost_something() -> None:
    given = result(2, seq=1)
    sinks = [Memory(), Memory(), Memory()]
    sinks[2].gate.clear()
    for sink in sinks:
        worker = SinkWorker(sink, capacity=1, when_full="drop_oldest", on_error=never)
        worker.put(result(0))
        if sink is sinks[2]:
            assert sink.entered.acquire(timeout=20)
            worker.put(result(0))  # goes, for the next one
        else:
            wait_until(lambda sink=sink: len(sink.results) == 1)  # type: ignore[misc]
        worker.put(given)
        sink.gate.set()
        worker.close()
    one, other, behind = (sink.results[-1] for sink in sinks)
    assert one is other
    assert shared_json(one) is shared_json(other)
    assert json.loads(shared_json(one)) == shared_record(one) == record(given)
    assert shared_record(one)["dropped_since_last"] == {}
    assert shared_record(behind)["dropped_since_last"] == {"memory_full": 1}
    assert {**shared_record(behind), "dropped_since_last": {}} == shared_record(one)


def test_a_result_on_its_way_to_another_process_takes_nothing_along_that_can_be_made_again() -> None:
    given = result(2).without_picture
    size = len(pickle.dumps(given))
    assert shared_json(given)
    assert len(given.detections) == 2
    sent = pickle.dumps(given)
    assert len(sent) == size
    back = pickle.loads(sent)
    assert (back.objects, shared_record(back), back.frame.width) == (given.objects, shared_record(given), 640)


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (OutputError("cannot write /x: the disk is full"), "cannot write /x: the disk is full"),
        (ReaderGone("nobody reads - any more"), "nobody reads"),
        (ZeroDivisionError("oh"), "the output memory failed: ZeroDivisionError"),
    ],
)
def test_a_failure_is_reported_once_and_lets_everybody_go(error: Exception, reported: str) -> None:
    sink, errors = Memory(fails_at=3, error=error), list[tuple[str, OutputError]]()
    sink.gate.clear()
    worker = SinkWorker(
        sink, capacity=2, when_full="block", on_error=lambda name, error: errors.append((name, error))
    )
    caller = threading.Thread(target=lambda: [worker.put(each) for each in results([0] * 50)])
    caller.start()
    sink.gate.set()
    caller.join(10)
    assert not caller.is_alive()
    worker.close()
    assert sink.seqs == [0, 1, 2]
    assert [(name, reported in str(each)) for name, each in errors] == [("memory", True)]
    assert (worker.failed, sink.closed) == (True, 1)
    assert (worker.counters.written, worker.counters.dropped, worker.counters.errors) == (3, 47, 1)


def test_a_sink_that_fails_while_it_is_finished_is_reported() -> None:
    class Unfinished(Memory):
        def close(self) -> None:
            raise OutputError("no room for the end")

    errors: list[str] = []
    worker = SinkWorker(
        Unfinished(), capacity=1, when_full="block", on_error=lambda name, error: errors.append(str(error))
    )
    worker.put(result())
    worker.close()
    assert (errors, worker.counters.written) == (["no room for the end"], 1)


@pytest.mark.alone
def test_a_sink_that_hangs_is_left_after_the_time_that_was_given() -> None:
    sink, errors = Memory(), list[str]()
    sink.gate.clear()
    worker = SinkWorker(
        sink, capacity=5, when_full="block", on_error=lambda name, error: errors.append(str(error))
    )
    for each in results([0] * 3):
        worker.put(each)
    started = time.monotonic()
    worker.close(timeout_s=0.1)
    worker.close(timeout_s=0.1)
    assert 0.1 <= time.monotonic() - started < 2
    assert errors == ["the output memory was not finished within 0.1 s and is left as it is"]
    assert (worker.counters.written, worker.counters.dropped) == (0, 3)
    sink.gate.set()


def test_after_closing_results_are_dropped_and_counted() -> None:
    sink = Memory()
    worker = SinkWorker(sink, capacity=1, when_full="block", on_error=never)
    worker.close()
    for each in results([0] * 3):
        worker.put(each)
    assert (sink.seqs, worker.counters.dropped) == ([], 3)


def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 result, but got 0"):
        SinkWorker(Memory(), capacity=0, when_full="block", on_error=never)
