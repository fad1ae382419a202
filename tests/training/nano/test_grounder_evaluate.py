"""Figures of the evaluation on cases that are counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from training.nano.curves import draw_curves
from training.nano.evaluate import (
    IOUS,
    Tally,
    average_precision,
    calibration,
    kind_of,
    match,
)
from training.scenes.vocabulary import Concept, Vocabulary


@pytest.mark.parametrize(
    ("scores", "right", "wanted", "expected"),
    [
        ([0.9, 0.8], [True, True], 2, 1.0),
        ([0.9, 0.8], [False, True], 1, 0.5),
        ([0.8, 0.9], [True, False], 1, 0.5),  # order is by score
        ([0.9], [True], 2, 51 / 101),  # recalls 0 to 0.5
        ([0.9], [False], 1, 0.0),
        ([], [], 3, 0.0),
        ([0.9], [False], 0, 0.0),
    ],
)
def test_average_precision(scores: list[float], right: list[bool], wanted: int, expected: float) -> None:
    found = average_precision(np.array(scores, np.float32), np.array(right, bool), wanted)
    assert found == pytest.approx(expected)


def test_each_true_box_is_taken_once_by_the_best_score() -> None:
    truth = np.array([[0, 0, 10, 10]], np.float32)
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]], np.float32)
    taken = match(boxes, np.array([0.5, 0.9, 0.8], np.float32), truth)
    assert taken[:, 0].tolist() == [-1, 0, -1]
    assert taken[:, IOUS.index(0.95)].tolist() == [0, -1, -1]  # the better score overlaps by .9 only
    assert match(boxes, np.ones(3, np.float32), truth[:0]).max() == -1


def test_a_tally_counts_at_the_threshold() -> None:
    tally = Tally(wanted=4, absent=10, false=1)
    tally.scores.append(np.array([0.9, 0.6, 0.2], np.float32))
    tally.right.append(np.repeat([[True], [False], [True]], len(IOUS), 1))
    figures = tally.summary(0.5)
    assert (figures["recall"], figures["precision"], figures["false_per_20"]) == (0.25, 0.5, 2.0)
    assert Tally().summary(0.5)["AP50"] == 0


def test_calibration_is_the_right_part_per_tenth() -> None:
    scores, right = np.array([0.05, 0.31, 0.39, 1.0], np.float32), np.array([False, True, False, True])
    assert calibration(scores, right) == [(0.0, 1, 0.0), (0.3, 2, 0.5), (0.9, 1, 1.0)]


@pytest.mark.parametrize(
    ("phrase", "kind"),
    [
        ("a dog", "name"),
        ("dogs", "name"),
        ("hound", "synonym"),
        ("the pet", "kind"),
        ("small dog", "described"),
        ("grey hound", "described"),
        ("orange", "name"),  # the fruit
    ],
)
def test_kinds_of_phrases(phrase: str, kind: str) -> None:
    vocabulary = Vocabulary([Concept("pet"), Concept("dog", ("hound",), ("pet",)), Concept("orange")])
    assert kind_of(phrase, vocabulary) == kind


def test_curves_are_drawn_for_every_number_of_a_step(tmp_path: Path) -> None:
    lines = [
        {"time_s": 1.0, "step": step, "epoch": epoch, "loss": 2.0 / (epoch + 1)}
        for step in ("objects", "names")
        for epoch in range(3)
    ]
    log, picture = tmp_path / "log.jsonl", tmp_path / "curves.svg"
    log.write_text("\n".join(json.dumps(line) for line in lines))
    draw_curves(log, picture)
    assert picture.read_text().count("<polyline") == 2
    assert "loss 0.667" in picture.read_text()
