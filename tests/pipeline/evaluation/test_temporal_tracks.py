"""What the tracks of a benchmark are worth."""

from __future__ import annotations

import numpy as np
import pytest

from groundstream.models.adaptation.clips import Clip, FrameTruth
from groundstream.models.types import Preset, Prompt, RawDetections
from groundstream.pipeline.evaluation.tracks import TrackBook


def tracks_of(*scores: float) -> dict[str, float]:
    """Return the numbers of a clip whose moving object is found in every frame, with these scores in turn."""
    boxes = np.array([[(10 + 2 * n, 10, 50 + 2 * n, 60)] for n in range(16)], np.float32)
    one = np.ones(1, np.int64)
    truth = tuple(FrameTruth(box, 0 * one, one, one > 0) for box in boxes)
    clip = Clip("a", np.zeros((16, 128, 192, 3), np.uint8), np.arange(16) * 0.1, truth, "slow")
    book = TrackBook(Prompt.of(["square", "circle"]), Preset(score=0.4, floor=0.2))
    pairs = [(scores[n % len(scores)], 0.0) for n in range(16)] if scores else []
    rows = [np.array([pair], np.float32) for pair in pairs] or [np.zeros((0, 2), np.float32)] * 16
    answers = [RawDetections(box[: len(row)], row) for box, row in zip(boxes, rows, strict=True)]
    book.add(clip, answers)
    return book.numbers()


def test_a_steady_object_is_one_track_of_a_steady_score() -> None:
    numbers = tracks_of(0.8)
    assert numbers["HOTA"] > 80
    assert numbers["IDF1"] > 80
    assert numbers["switches"] == 0
    assert numbers["record change"] == pytest.approx(0, abs=1e-4)


def test_a_score_that_flickers_is_seen_in_the_records_but_smoothed() -> None:
    change = tracks_of(0.9, 0.5)["record change"]
    assert 0.5 < change < 30  # from frame to frame the answers change by 40 hundredths


def test_what_is_never_found_has_no_track() -> None:
    numbers = tracks_of()
    assert numbers["HOTA"] == 0
    assert numbers["record change"] == 0
