"""Queues between reader and consumer: newest wins, or all in order; losses are counted and told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import av
import pytest

from groundstream.operators.frames import Frame
from groundstream.operators.sources.queues import FifoQueue, FrameQueue, LatestQueue

QUEUES: list[Callable[[], FrameQueue]] = [LatestQueue, lambda: FifoQueue(2)]


def frame(seq: int) -> Frame:
    return Frame("s", 1, seq, seq / 10, 0.0, av.VideoFrame(2, 2, "gray"))


def test_the_newest_frame_wins_and_says_what_it_replaced() -> None:
    queue = LatestQueue()
    for seq in range(5):
        assert queue.put(frame(seq))
    first = queue.take()
    assert first is not None
    assert (first.seq, dict(first.dropped)) == (4, {"newer_frame": 4})
    queue.put(frame(5))
    second = queue.take()
    assert second is not None
    assert (second.seq, dict(second.dropped)) == (5, {})
    assert queue.dropped == {"newer_frame": 4}


def test_in_order_keeps_everything_and_waits_when_full() -> None:
    queue = FifoQueue(2)
    seen: list[int] = []

    def produce() -> None:
        for seq in range(50):
            assert queue.put(frame(seq))
        queue.finish()

    with ThreadPoolExecutor() as pool:
        producing = pool.submit(produce)
        time.sleep(0.02)
        assert not producing.done()
        while (taken := queue.take()) is not None:
            seen.append(taken.seq)
        producing.result()
    assert seen == list(range(50))
    assert not queue.dropped


@pytest.mark.parametrize("make", QUEUES)
def test_losses_are_told_by_the_next_frame_only(make: Callable[[], FrameQueue]) -> None:
    queue = make()
    queue.lose("corrupt_packet", 2)
    queue.put(frame(0))
    first = queue.take()
    queue.put(frame(1))
    second = queue.take()
    assert first is not None
    assert second is not None
    assert (dict(first.dropped), dict(second.dropped)) == ({"corrupt_packet": 2}, {})


def test_in_order_losses_stay_between_the_frames_where_they_happened() -> None:
    queue = FifoQueue(4)
    queue.put(frame(0))
    queue.lose("corrupt_packet")
    queue.put(frame(1))
    taken = [queue.take(), queue.take()]
    assert [dict(one.dropped) for one in taken if one] == [{}, {"corrupt_packet": 1}]


@pytest.mark.parametrize("make", QUEUES)
def test_late_frames_of_an_older_reader_are_refused(make: Callable[[], FrameQueue]) -> None:
    queue = make()
    assert queue.put(frame(7))
    assert not queue.put(frame(6))
    taken = queue.take()
    assert taken is not None
    assert taken.seq == 7


@pytest.mark.parametrize("make", QUEUES)
def test_after_finish_what_waits_is_still_taken(make: Callable[[], FrameQueue]) -> None:
    queue = make()
    queue.put(frame(0))
    queue.finish()
    assert queue.take() is not None
    assert queue.take() is None


@pytest.mark.parametrize("make", QUEUES)
def test_close_wakes_a_waiting_consumer_and_forgets(make: Callable[[], FrameQueue]) -> None:
    queue = make()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(queue.take)
        time.sleep(0.02)
        queue.close()
        assert waiting.result(timeout=1) is None
    assert not queue.put(frame(0))
    assert queue.take() is None


def test_close_wakes_a_waiting_producer() -> None:
    queue = FifoQueue(1)
    queue.put(frame(0))
    put: list[bool] = []
    thread = threading.Thread(target=lambda: put.append(queue.put(frame(1))))
    thread.start()
    queue.close()
    thread.join(1)
    assert put == [False]


def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame, but got 0"):
        FifoQueue(0)
