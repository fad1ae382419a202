"""Lines between reader and consumer: newest wins, or all in order; losses are counted and told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import av
import pytest

from groundstream.operators.frames import Frame
from groundstream.operators.sources.queues import InOrder, Latest, Line

LINES: list[Callable[[], Line]] = [Latest, lambda: InOrder(2)]


def frame(seq: int) -> Frame:
    return Frame("s", 1, seq, seq / 10, 0.0, av.VideoFrame(2, 2, "gray"))


def test_the_newest_frame_wins_and_says_what_it_replaced() -> None:
    line = Latest()
    for seq in range(5):
        assert line.put(frame(seq))
    first = line.take()
    assert first is not None
    assert (first.seq, dict(first.dropped)) == (4, {"newer_frame": 4})
    line.put(frame(5))
    second = line.take()
    assert second is not None
    assert (second.seq, dict(second.dropped)) == (5, {})
    assert line.dropped == {"newer_frame": 4}


def test_in_order_keeps_everything_and_waits_when_full() -> None:
    line = InOrder(2)
    seen: list[int] = []

    def produce() -> None:
        for seq in range(50):
            assert line.put(frame(seq))
        line.finish()

    with ThreadPoolExecutor() as pool:
        producing = pool.submit(produce)
        time.sleep(0.02)
        assert not producing.done()
        while (taken := line.take()) is not None:
            seen.append(taken.seq)
        producing.result()
    assert seen == list(range(50))
    assert not line.dropped


@pytest.mark.parametrize("make", LINES)
def test_losses_are_told_by_the_next_frame_only(make: Callable[[], Line]) -> None:
    line = make()
    line.lose("corrupt_packet", 2)
    line.put(frame(0))
    first = line.take()
    line.put(frame(1))
    second = line.take()
    assert first is not None
    assert second is not None
    assert (dict(first.dropped), dict(second.dropped)) == ({"corrupt_packet": 2}, {})


def test_in_order_losses_stay_between_the_frames_where_they_happened() -> None:
    line = InOrder(4)
    line.put(frame(0))
    line.lose("corrupt_packet")
    line.put(frame(1))
    taken = [line.take(), line.take()]
    assert [dict(one.dropped) for one in taken if one] == [{}, {"corrupt_packet": 1}]


@pytest.mark.parametrize("make", LINES)
def test_late_frames_of_an_older_reader_are_refused(make: Callable[[], Line]) -> None:
    line = make()
    assert line.put(frame(7))
    assert not line.put(frame(6))
    taken = line.take()
    assert taken is not None
    assert taken.seq == 7


@pytest.mark.parametrize("make", LINES)
def test_after_finish_what_waits_is_still_taken(make: Callable[[], Line]) -> None:
    line = make()
    line.put(frame(0))
    line.finish()
    assert line.take() is not None
    assert line.take() is None


@pytest.mark.parametrize("make", LINES)
def test_close_wakes_a_waiting_consumer_and_forgets(make: Callable[[], Line]) -> None:
    line = make()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(line.take)
        time.sleep(0.02)
        line.close()
        assert waiting.result(timeout=1) is None
    assert not line.put(frame(0))
    assert line.take() is None


def test_close_wakes_a_waiting_producer() -> None:
    line = InOrder(1)
    line.put(frame(0))
    put: list[bool] = []
    thread = threading.Thread(target=lambda: put.append(line.put(frame(1))))
    thread.start()
    line.close()
    thread.join(1)
    assert put == [False]


def test_a_line_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame, but got 0"):
        InOrder(0)
