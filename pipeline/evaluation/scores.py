"""Score smoothing: the baseline that works on answers instead of features, box by box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundstream.models.types import RawDetections

#: boxes of two frames that overlap less are not the same thing.
LEAST_IOU = 0.3


@dataclass(frozen=True)
class ScoreEMA:
    """Smooths the scores of boxes that overlap from frame to frame; a lost box fades instead of vanishing.

    Without an earlier answer it changes nothing, as all adapters.

    Attributes:
        half_life_s: seconds in which the weight of what was seen before halves.
        floor: faded boxes below this score are dropped.
    """

    half_life_s: float = 0.2
    floor: float = 0.05

    def step(self, raw: RawDetections, before: RawDetections | None, dt_s: float) -> RawDetections:
        """Return the smoothed answer, which is also what the next frame's call takes as `before`.

        Args:
            raw: one frame's candidates, with the same phrases as `before`.
            before: what the last call returned; None at the first frame and after a reset.
            dt_s: seconds since then; below 0 counts as 0.
        """
        if before is None or not len(before.boxes_model):
            return raw
        weight = float(2.0 ** (-max(dt_s, 0.0) / self.half_life_s))
        new, old = _matches(raw.boxes_model, before.boxes_model)
        scores = raw.phrase_scores.copy()
        scores[new] += np.float32(weight) * (before.phrase_scores[old] - scores[new])
        faded = np.float32(weight) * before.phrase_scores
        lost = np.setdiff1d(np.flatnonzero(faded.max(1, initial=0.0) >= self.floor), old)
        boxes = np.concatenate([raw.boxes_model, before.boxes_model[lost]])
        table = np.concatenate([scores, faded[lost]])
        order = np.argsort(-table.max(1, initial=0.0), kind="stable")
        return RawDetections(boxes[order], table[order])


def _matches(new: NDArray[np.float32], old: NDArray[np.float32]) -> tuple[NDArray[np.int64], ...]:
    """Return the numbers of the boxes of both that overlap each other most, (K,) each."""
    overlap = box_iou(new, old)
    if not overlap.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows, best = np.arange(len(new)), overlap.argmax(1)
    mutual = (overlap.argmax(0)[best] == rows) & (overlap[rows, best] >= LEAST_IOU)
    return rows[mutual], best[mutual]


def box_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (A, B) intersection over union of (A, 4) and (B, 4) xyxy boxes."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)]
    union: NDArray[np.float32] = areas[0][:, None] + areas[1][None] - both
    answer: NDArray[np.float32] = (both / np.maximum(union, 1e-6)).astype(np.float32)
    return answer
