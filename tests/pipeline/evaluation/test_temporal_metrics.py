"""What the temporal benchmark counts."""

from __future__ import annotations

import numpy as np
import pytest
from temporal_parts import BOX, raw_of, truth_of

from groundstream.pipeline.evaluation.benchmark import difference, precision, summarise
from groundstream.pipeline.evaluation.measure import Marks
from groundstream.pipeline.evaluation.metrics import (
    Hits,
    appearance_lags,
    average_precision,
    count_ghosts,
    flicker,
    judge,
    track_scores,
)

FAR = (60.0, 60.0, 80.0, 80.0)
NOTHING = truth_of()


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        ([(BOX, (0.9, 0))], truth_of(BOX), 100),
        ([], truth_of(BOX), 0),
        ([(FAR, (0.9, 0)), (BOX, (0.8, 0))], truth_of(BOX), 50),
        ([(BOX, (0.9, 0)), (BOX, (0.8, 0))], truth_of(BOX), 100),
        ([(BOX, (0, 0.9))], truth_of(BOX), 0),
        ([(BOX, (0.9, 0))], truth_of(BOX, FAR), 50),
    ],
    ids=["found", "missed", "false alarm first", "twice", "wrong class", "half"],
)
def test_average_precision(found: list, truth: object, expected: float) -> None:
    hits = judge(raw_of(*found), truth, (0, 1))  # type: ignore[arg-type]
    assert average_precision(hits) == pytest.approx(expected)


def test_what_does_not_count_is_neither_asked_nor_wrong() -> None:
    hits = judge(raw_of((BOX, (0.9, 0))), truth_of(BOX, counts=False), (0, 1))
    assert hits.truths == 0
    assert len(hits.scores) == 0


def test_nothing_asked_has_no_precision() -> None:
    assert np.isnan(average_precision(Hits.join([])))


def test_a_box_where_something_has_left_is_a_ghost_for_a_second() -> None:
    answers = [raw_of((BOX, (0.9, 0)))] * 3
    truth = [truth_of(BOX), NOTHING, NOTHING]
    assert count_ghosts(answers, truth, np.array([0, 0.5, 1.2]), (0, 1), 0.4) == (1, 3)
    assert count_ghosts(answers, [truth_of(BOX)] * 3, np.arange(3.0), (0, 1), 0.4) == (0, 3)


def test_flicker_counts_a_lost_box_as_a_fall_to_zero() -> None:
    answers = [raw_of((BOX, (0.8, 0))), raw_of(), raw_of((BOX, (0.6, 0)))]
    tracks = track_scores(answers, [truth_of(BOX)] * 3, (0, 1))
    total, pairs = flicker(tracks.values())
    assert (pytest.approx(total), pairs) == (1.4, 2)


def test_lag_runs_from_appearing_to_being_reported() -> None:
    times_s = np.array([0, 0.1, 0.3, 0.6])
    answers = [raw_of(), raw_of(), raw_of((BOX, (0.3, 0))), raw_of((BOX, (0.9, 0)))]
    truth = [NOTHING, truth_of(BOX), truth_of(BOX), truth_of(BOX)]
    tracks = track_scores(answers, truth, (0, 1))
    assert appearance_lags(tracks.values(), times_s, 0.4) == pytest.approx([0.5])
    always = track_scores(answers, [truth_of(BOX)] * 4, (0, 1))
    assert appearance_lags(always.values(), times_s, 0.4) == []  # it was there from the start


def marks(clip: int, kind: str, right: bool) -> Marks:
    hits = Hits(np.array([0.9], np.float32), np.array([right]), 1)
    return Marks(clip, kind, "slow", hits, Hits.join([]), (0, 1), (0.1, 1), ())


def test_the_table_takes_clean_and_spoiled_apart() -> None:
    numbers = summarise([marks(0, "clean", True), marks(0, "noise", False), marks(1, "noise", True)])
    assert (numbers["clean"], numbers["spoiled"], numbers["noise"]) == (
        100,
        25,
        25,
    )  # at equal scores the wrong one comes first
    assert numbers["score change"] == pytest.approx(10)
    assert "held out" not in numbers


def test_a_difference_is_paired_by_clip() -> None:
    theirs = [marks(clip, "noise", clip % 2 == 0) for clip in range(8)]
    ours = [marks(clip, "noise", True) for clip in range(8)]
    gain = difference(ours, theirs, precision)
    assert 0 < gain.low <= gain.mean <= gain.high
    same = difference(theirs, theirs, precision)
    assert (same.low, same.mean, same.high) == (0, 0, 0)
