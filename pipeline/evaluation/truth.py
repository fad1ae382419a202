"""What counts as truth: an adapter can only keep what the frozen model sees on clean frames.

Real clips: what the model says, confidently, of their clean frames. Generated clips: the exact boxes of the
objects that the model recognises when nothing is spoiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from groundstream.pipeline.evaluation.scores import box_iou
from groundstream.models.adaptation.clips import Clip, FrameTruth
from groundstream.pipeline.evaluation.metrics import IOU, track_scores
from groundstream.models.types import Preset, RawDetections

#: a clean box is truth from so many times the model's own start score on; below, down to the model's floor,
#: it is neither asked for nor wrong.
CONFIDENT = 1.25
#: a generated object counts when its mean score on clean frames is at least the first; a clean candidate
#: that shows no object (there may be a car in the photograph behind) does not count from the second on.
RECOGNISED, IN_BACKGROUND = 0.3, 0.3
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


def with_recognised_truth(clip: Clip, answers: Sequence[RawDetections]) -> Clip:
    """Return `clip` with only those of its objects counting that the model recognises in clean frames.

    Args:
        clip: a generated clip with exact truth.
        answers: per frame the candidates, one column per class.
    """
    lines = track_scores(answers, clip.truth, range(answers[0].phrase_scores.shape[1]))
    known = [track for track, line in lines.items() if np.nanmean(line) >= RECOGNISED]
    truth = []
    for raw, frame in zip(answers, clip.truth, strict=True):
        exact = frame._replace(counts=frame.counts & np.isin(frame.ids, known))
        truth.append(_with_background(exact, raw))
    return replace(clip, truth=tuple(truth))


def _with_background(truth: FrameTruth, raw: RawDetections) -> FrameTruth:
    classes, rows = (raw.phrase_scores.T >= IN_BACKGROUND).nonzero()
    boxes = raw.boxes_model[rows]
    near = box_iou(boxes, truth.boxes) if len(boxes) and len(truth.boxes) else np.zeros((len(boxes), 1))
    extra = near.max(axis=1, initial=0) < IOU
    count = int(extra.sum())
    return FrameTruth(
        np.concatenate([truth.boxes, boxes[extra]]),
        np.concatenate([truth.classes, classes[extra]]),
        np.concatenate([truth.ids, np.zeros(count, np.int64)]),
        np.concatenate([truth.counts, np.zeros(count, bool)]),
    )


def _linked(
    boxes: NDArray[np.float32], classes: NDArray[np.int64], before: FrameTruth | None
) -> NDArray[np.int64]:
    """Return (K,) ids of the boxes' tracks in the frame before, 0 for new ones; best overlap first."""
    ids = np.zeros(len(boxes), np.int64)
    if before is None or not len(boxes) or not len(before.boxes):
        return ids
    overlaps = box_iou(boxes, before.boxes)
    overlaps[classes[:, None] != before.classes[None]] = 0
    while overlaps.max() >= LINK_IOU:
        row, column = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
        ids[row] = before.ids[column]
        overlaps[row], overlaps[:, column] = 0, 0
    return ids
