from typing import get_args

import numpy as np
import pytest

from groundstream.operators.tracking import Tracker, TrackerName

TRACKERS: tuple[TrackerName, ...] = get_args(TrackerName)


def boxes(*lefts: float) -> np.ndarray:
    return np.array([[left, 10, left + 40, 90] for left in lefts], np.float32).reshape(-1, 4)


def scores(count: int, value: float) -> np.ndarray:
    return np.full(count, value, np.float32)


def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (120, 320, 3), np.uint8)


@pytest.mark.parametrize("name", TRACKERS)
def test_two_movers_keep_their_ids_at_low_scores(name: TrackerName) -> None:
    tracker = Tracker(name, start_score=0.2, frame_rate=10)
    frame = picture()
    seen = [
        tracker.update(boxes(10 + 2 * step, 200 - 2 * step), scores(2, 0.25), step / 10, frame).ids.tolist()
        for step in range(30)
    ]
    assert seen[0] == [0, 0]
    assert set(map(tuple, seen[2:])) == {(1, 2)}


@pytest.mark.parametrize("name", TRACKERS)
def test_ids_survive_dropped_frames(name: TrackerName) -> None:
    tracker = Tracker(name, start_score=0.5, frame_rate=10)
    frame = picture()
    for step in range(60):
        if step % 3 and step > 5:
            continue  # two of three frames are lost; the clock goes on
        tracked = tracker.update(boxes(10 + 1.5 * step), scores(1, 0.9), step / 10, frame)
    assert tracked.ids.tolist() == [1]


def test_a_track_is_lost_then_given_up_in_seconds() -> None:
    tracker = Tracker("bytetrack", start_score=0.5, lost_s=1.0, frame_rate=10)
    for step in range(5):
        tracker.update(boxes(10), scores(1, 0.9), step / 10)
    lost = tracker.update(boxes(), scores(0, 0), 0.9)
    assert lost.lost_ids.tolist() == [1]
    assert lost.lost_boxes[0] == pytest.approx([10, 10, 50, 90], abs=2)
    assert lost.alive == {1}
    gone = tracker.update(boxes(), scores(0, 0), 1.6)
    assert gone.alive == frozenset()


def test_weak_boxes_keep_a_track_but_start_none() -> None:
    tracker = Tracker("bytetrack", start_score=0.5, frame_rate=10)
    for step in range(5):
        assert tracker.update(boxes(200), scores(1, 0.3), step / 10).ids.tolist() == [0]
    for step in range(5, 10):
        tracked = tracker.update(boxes(10), scores(1, 0.9 if step < 8 else 0.3), step / 10)
    assert tracked.ids.tolist() == [1]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_clock_that_stands_still_loses_no_track(name: TrackerName) -> None:
    tracker = Tracker(name, start_score=0.5, frame_rate=10)
    frame = picture()
    for time_s in (0.0, 0.1, 0.1, 0.05, 0.2):
        tracked = tracker.update(boxes(10), scores(1, 0.9), time_s, frame)
    assert tracked.ids.tolist() == [1]


def test_trackers_share_nothing_and_reset_starts_anew() -> None:
    one, two = (Tracker("bytetrack", start_score=0.5, frame_rate=10) for _ in range(2))
    for step in range(3):
        first = one.update(boxes(10, 200), scores(2, 0.9), step / 10)
        second = two.update(boxes(10), scores(1, 0.9), step / 10)
    assert first.ids.tolist() == [1, 2]
    assert second.ids.tolist() == [1]
    one.reset()
    for step in range(3):
        again = one.update(boxes(200), scores(1, 0.9), step / 10)
    assert again.ids.tolist() == [1]


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match="start score"):
        Tracker("bytetrack", start_score=0)
    with pytest.raises(ValueError, match="lost_s"):
        Tracker("bytetrack", start_score=0.5, lost_s=-1)
    with pytest.raises(ValueError, match="bytetrack, ocsort, botsort"):
        Tracker("sort", start_score=0.5)  # type: ignore[arg-type]
