"""Which objects of generated clips count: those that the frozen model sees when nothing is spoiled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from temporal_parts import BOX, moving_clip, raw_of, truth_of

from training.bench.generated import with_recognised_truth

FAR = (60.0, 60.0, 80.0, 80.0)
ELSEWHERE = (100.0, 10.0, 140.0, 40.0)


def test_what_the_model_does_not_recognise_does_not_count() -> None:
    clip = replace(moving_clip(frames=2), truth=(truth_of(BOX, FAR),) * 2)
    seen = raw_of((BOX, (0.9, 0)), (FAR, (0.2, 0)))
    judged = with_recognised_truth(clip, [seen, seen])
    for frame in judged.truth:
        assert frame.ids.tolist() == [1, 2]
        assert frame.counts.tolist() == [True, False]


def test_what_the_model_sees_in_the_photograph_behind_is_neither_asked_for_nor_wrong() -> None:
    clip = replace(moving_clip(frames=1), truth=(truth_of(BOX),))
    (frame,) = with_recognised_truth(clip, [raw_of((BOX, (0.9, 0)), (ELSEWHERE, (0, 0.5)))]).truth
    assert frame.boxes.tolist() == [list(BOX), list(ELSEWHERE)]
    assert frame.classes.tolist() == [0, 1]
    assert frame.ids.tolist() == [1, 0]
    assert frame.counts.tolist() == [True, False]


def test_a_scene_without_objects_and_a_model_that_sees_nothing_are_no_error() -> None:
    clip = replace(moving_clip(frames=1), truth=(truth_of(),))
    (empty,) = with_recognised_truth(clip, [raw_of()]).truth
    assert len(empty.boxes) == 0
    (behind,) = with_recognised_truth(clip, [raw_of((BOX, (0.9, 0)))]).truth
    assert np.array_equal(behind.counts, [False])
