"""Clips and truth for the tests of the temporal benchmark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from groundstream.models.adaptation.clips import Clip, FrameTruth
from groundstream.models.types import RawDetections

BOX = (10.0, 10.0, 30.0, 30.0)


def truth_of(*boxes: Sequence[float], counts: bool = True, number: int = 0) -> FrameTruth:
    """Truth with `boxes` of class `number`; ids from 1 on."""
    count = len(boxes)
    return FrameTruth(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(count, number, np.int64),
        np.arange(1, count + 1),
        np.full(count, counts),
    )


def raw_of(*found: tuple[Sequence[float], Sequence[float]], classes: int = 2) -> RawDetections:
    """Candidates from (box, scores) pairs."""
    boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    return RawDetections(boxes, np.array([scores for _, scores in found], np.float32).reshape(-1, classes))


def moving_clip(name: str = "a", frames: int = 16, height: int = 128, width: int = 192) -> Clip:
    """A bright square that moves over a pattern, with its truth."""
    rng = np.random.default_rng(3)
    ground = rng.integers(60, 120, (height, width, 3)).astype(np.uint8)
    pictures, truth = [], []
    for number in range(frames):
        picture = ground.copy()
        left = 5 + 3 * number
        picture[20:40, left : left + 20] = (230, 200, 40)
        pictures.append(picture)
        truth.append(truth_of((left, 20, left + 20, 40)))
    return Clip(name, np.stack(pictures), np.arange(frames) * 0.1, tuple(truth), "slow")
