"""What counts as truth: an adapter can only keep what the frozen model sees on clean frames.

So the truth of real footage, which has no labels, is what the model says, confidently, of its clean frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import supervision as sv
from numpy.typing import NDArray

from groundstream.models.adaptation.clips import Clip, FrameTruth
from groundstream.models.types import Preset, RawDetections

#: a clean box is truth from so many times the model's own start score on; below, down to the model's floor,
#: it is neither asked for nor wrong.
CONFIDENT = 1.25
#: boxes of one class in consecutive frames are one track from this overlap on.
LINK_IOU = 0.3


def with_model_truth(clip: Clip, answers: Sequence[RawDetections], preset: Preset) -> Clip:
    """Return `clip` with the truth that `answers` give to its clean frames.

    Args:
        clip: a real clip.
        answers: per frame the candidates, one column per class.
        preset: the numbers of the model's score scale.
    """
    truth: list[FrameTruth] = []
    fresh = 1
    for raw in answers:
        classes, rows = (preset.floor <= raw.phrase_scores.T).nonzero()
        boxes = raw.boxes_model[rows]
        counts = raw.phrase_scores[rows, classes] >= CONFIDENT * preset.score
        ids = _linked(boxes, classes, truth[-1] if truth else None)
        new = ids == 0
        ids[new] = np.arange(fresh, fresh + new.sum())
        fresh += int(new.sum())
        truth.append(FrameTruth(boxes, classes.astype(np.int64), ids, counts))
    return replace(clip, truth=tuple(truth))


def _linked(
    boxes: NDArray[np.float32], classes: NDArray[np.int64], before: FrameTruth | None
) -> NDArray[np.int64]:
    """Return (K,) ids of the boxes' tracks in the frame before, 0 for new ones; best overlap first."""
    ids = np.zeros(len(boxes), np.int64)
    if before is None or not len(boxes) or not len(before.boxes):
        return ids
    overlaps = sv.box_iou_batch(boxes, before.boxes)
    overlaps[classes[:, None] != before.classes[None]] = 0
    while overlaps.max() >= LINK_IOU:
        row, column = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
        ids[row] = before.ids[column]
        overlaps[row], overlaps[:, column] = 0, 0
    return ids
