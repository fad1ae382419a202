"""The ring holds what pre-roll needs, and no more than it may."""

from __future__ import annotations

import threading

import pytest

from groundstream.operators.video.segment import Segment
from groundstream.operators.video.tap import Ring, RingCounters


def segment(
    start_s: float, length_s: float = 1.0, *, epoch: int = 1, size: int = 100, keyed: bool = True
) -> Segment:
    return Segment(
        stream_id="cam",
        epoch=epoch,
        start_s=start_s,
        end_s=start_s + length_s,
        start_wall=1e9 + start_s,
        times_s=(start_s, start_s + length_s / 2),
        width=96,
        height=64,
        codec="h264",
        data=bytes(size),
        keyed=keyed,
    )


def filled(ring: Ring, count: int, **facts: float) -> Ring:
    for number in range(count):
        ring.add(segment(float(number), **facts))  # type: ignore[arg-type]
    return ring


def starts(found: list[Segment]) -> list[float]:
    return [each.start_s for each in found]


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [
        (2.5, 4.5, [2, 3, 4]),
        (2.0, 4.0, [2, 3]),
        (-5.0, 0.5, [0]),
        (8.9, 99.0, [8, 9]),
        (10.0, 99.0, []),
        (3.2, 3.3, [3]),
    ],
)
def test_a_cut_begins_at_the_key_frame_before(start_s: float, end_s: float, expected: list[float]) -> None:
    ring = filled(Ring(100.0, 10_000), 10)
    assert starts(ring.cut(start_s, end_s, epoch=1)) == expected
    assert ring.cut(start_s, end_s, epoch=2) == []


def test_without_a_consumer_it_reaches_back_from_the_newest() -> None:
    ring = filled(Ring(3.0, 10_000), 10)
    assert starts(ring.cut(0.0, 99.0, 1)) == [7, 8, 9]
    assert ring.counters == RingCounters(segments=3, bytes=300, dropped=0, dropped_bytes=0)


def test_a_group_that_covers_the_start_stays_however_long_it_is() -> None:
    ring = Ring(5.0, 10_000)
    ring.keep_from(0.0, 1)
    for number in range(4):
        ring.add(segment(10.0 * number, 10.0))
    ring.keep_from(34.0, 1)
    assert starts(ring.cut(29.0, 34.0, 1)) == [20, 30]


def test_the_consumer_says_what_may_go() -> None:
    ring = Ring(3.0, 10_000)
    ring.keep_from(0.0, 1)
    filled(ring, 10)
    assert len(ring.cut(0.0, 99.0, 1)) == 10
    ring.keep_from(6.5, 1)
    assert starts(ring.cut(0.0, 99.0, 1)) == [3, 4, 5, 6, 7, 8, 9]


def test_bytes_are_the_hard_limit() -> None:
    ring = Ring(100.0, 450)
    ring.keep_from(0.0, 1)
    filled(ring, 10)
    assert starts(ring.cut(0.0, 99.0, 1)) == [6, 7, 8, 9]
    assert ring.counters == RingCounters(segments=4, bytes=400, dropped=6, dropped_bytes=600)
    ring.add(segment(10.0, size=500))
    assert ring.counters == RingCounters(segments=0, bytes=0, dropped=11, dropped_bytes=1500)


def test_an_epoch_goes_when_the_consumer_has_left_it() -> None:
    ring = Ring(3.0, 10_000)
    ring.keep_from(8.0, 1)
    filled(ring, 10)
    ring.add(segment(0.0, epoch=2))
    assert starts(ring.cut(0.0, 99.0, 1)) == [5, 6, 7, 8, 9]
    assert starts(ring.cut(0.0, 99.0, 2)) == [0]
    ring.keep_from(0.1, 2)
    assert ring.cut(0.0, 99.0, 1) == []
    assert starts(ring.cut(0.0, 99.0, 2)) == [0]


def test_pieces_that_do_not_decode_alone_are_not_kept() -> None:
    ring = Ring(10.0, 10_000)
    ring.add(segment(0.0))
    ring.add(segment(1.0, keyed=False))
    assert starts(ring.cut(0.0, 9.0, 1)) == [0]
    assert ring.counters.dropped == 1


def test_each_new_segment_pushes_out_what_lies_too_far_back() -> None:
    ring, seen = Ring(2.0, 10_000), []
    for number in range(3):
        ring.add(segment(float(number)))
        seen.append(starts(ring.cut(0.0, 99.0, 1)))
    assert seen == [[0], [0, 1], [1, 2]]


def test_many_threads_at_once() -> None:
    ring, wrong = Ring(5.0, 2000), []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found = starts(ring.cut(0.0, 1e9, 1))
            if found != sorted(found) or ring.counters.bytes > 2000:
                wrong.append(found)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(2000):
        ring.add(segment(float(number)))
        ring.keep_from(number - 2.0, 1)
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong


@pytest.mark.parametrize(("seconds", "most_bytes"), [(-1.0, 10), (1.0, 0)])
def test_nonsense_is_refused(seconds: float, most_bytes: int) -> None:
    with pytest.raises(ValueError, match="expected seconds >= 0"):
        Ring(seconds, most_bytes)
