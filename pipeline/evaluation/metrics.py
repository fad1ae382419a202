"""What the temporal benchmark measures of the candidates of a clip: precision, ghosts, lag, flicker.

Candidates are `RawDetections` for the asked classes; truth is a `FrameTruth` per frame. Boxes that do not
count are neither asked for nor wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import supervision as sv
from numpy.typing import NDArray

from groundstream.models.adaptation.clips import FrameTruth
from groundstream.models.types import RawDetections

#: a candidate finds an object from this overlap on.
IOU = 0.5
#: ghosts: how long ago the object was there, and below which overlap with what is there now.
GHOST_S, APART_IOU = 1.0, 0.3


@dataclass(frozen=True, eq=False)
class Hits:
    """Judged candidates of any number of frames: (N,) float32 scores, (N,) bool right; truths asked for."""

    scores: NDArray[np.float32]
    right: NDArray[np.bool_]
    truths: int

    @classmethod
    def join(cls, parts: Iterable[Hits]) -> Hits:
        """Put the judgements of several frames together."""
        every = list(parts)
        scores = [part.scores for part in every] or [np.zeros(0, np.float32)]
        right = [part.right for part in every] or [np.zeros(0, bool)]
        return cls(np.concatenate(scores), np.concatenate(right), sum(part.truths for part in every))


def average_precision(hits: Hits) -> float:
    """Return the area under the precision-recall curve in percent, NaN where nothing was asked for.

    All classes are pooled; precision is made monotone first, as in Pascal VOC 2010.
    """
    if not hits.truths:
        return float("nan")
    order = np.argsort(-hits.scores, kind="stable")
    right = np.cumsum(hits.right[order])
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(right, prepend=0) / hits.truths
    return float(100 * np.sum(envelope * steps))


def judge(raw: RawDetections, truth: FrameTruth, classes: Sequence[int], iou: float = IOU) -> Hits:
    """Match candidates and truth of one frame, class by class, best score first.

    Args:
        raw: candidates; column i of the scores is `classes[i]`.
        truth: what is there; classes that are not asked are left out.
        classes: the asked classes.
        iou: least overlap of a match.
    """
    busy = (raw.phrase_scores > 0).any(axis=0) | np.isin(classes, truth.classes)
    parts = [
        _judge_class(raw.boxes_model, raw.phrase_scores[:, column], truth, classes[column], iou)
        for column in np.flatnonzero(busy).tolist()
    ]
    return Hits.join(parts)


def _judge_class(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], truth: FrameTruth, number: int, iou: float
) -> Hits:
    found = np.flatnonzero(scores > 0)
    of_class = truth.classes == number
    asked = int((truth.counts & of_class).sum())
    if not len(found):
        return Hits(np.zeros(0, np.float32), np.zeros(0, bool), asked)
    found = found[np.argsort(-scores[found], kind="stable")]
    overlaps = sv.box_iou_batch(boxes[found], truth.boxes[of_class]) if of_class.any() else None
    right, wrong = np.zeros(len(found), bool), np.ones(len(found), bool)
    if overlaps is not None:
        counts, free = truth.counts[of_class], np.ones(int(of_class.sum()), bool)
        for row, overlap in enumerate(overlaps):
            best = int(np.argmax(np.where(free & counts, overlap, -1)))
            if free[best] and counts[best] and overlap[best] >= iou:
                right[row], wrong[row], free[best] = True, False, False
            elif (overlap[~counts] >= iou).any():
                wrong[row] = False  # it shows what does not count
    kept = right | wrong
    return Hits(scores[found][kept], right[kept], asked)


def count_ghosts(
    answers: Sequence[RawDetections],
    truth: Sequence[FrameTruth],
    times_s: NDArray[np.float64],
    classes: Sequence[int],
    score: float,
) -> tuple[int, int]:
    """Return how many reported boxes show what has left their place within the last second, of how many.

    Args:
        answers: candidates per frame; column i of the scores is `classes[i]`.
        truth: what is there, per frame.
        times_s: (T,) seconds.
        classes: the asked classes.
        score: boxes are reported from this score on.
    """
    ghosts = total = 0
    for now, raw in enumerate(answers):
        past = [truth[t] for t in range(now) if times_s[now] - times_s[t] <= GHOST_S]
        for column in np.flatnonzero((raw.phrase_scores >= score).any(axis=0)).tolist():
            boxes, number = raw.boxes_model[raw.phrase_scores[:, column] >= score], classes[column]
            total += len(boxes)
            if len(boxes) and past:
                was = np.concatenate([frame.boxes[frame.classes == number] for frame in past])
                here = _best_iou(boxes, truth[now].boxes[truth[now].classes == number])
                ghosts += int(((_best_iou(boxes, was) > IOU) & (here < APART_IOU)).sum())
    return ghosts, total


def _best_iou(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    if not len(others):
        return np.zeros(len(boxes), np.float32)
    best: NDArray[np.float32] = sv.box_iou_batch(boxes, others).max(axis=1)
    return best


def track_scores(
    answers: Sequence[RawDetections], truth: Sequence[FrameTruth], classes: Sequence[int]
) -> dict[int, NDArray[np.float32]]:
    """Return for each track the score of its best matching candidate in every frame.

    0 where none matches, NaN where the track does not count or is not asked for.
    """
    column_of = {number: column for column, number in enumerate(classes)}
    tracks: dict[int, NDArray[np.float32]] = {}
    for now, (raw, frame) in enumerate(zip(answers, truth, strict=True)):
        overlaps = sv.box_iou_batch(frame.boxes, raw.boxes_model)
        for row in range(len(frame.boxes)):
            column = column_of.get(int(frame.classes[row]))
            if column is None or not frame.counts[row]:
                continue
            scores = np.where(overlaps[row] >= IOU, raw.phrase_scores[:, column], 0)
            line = tracks.setdefault(int(frame.ids[row]), np.full(len(answers), np.nan, np.float32))
            line[now] = scores.max(initial=0)
    return tracks


def flicker(tracks: Iterable[NDArray[np.float32]]) -> tuple[float, int]:
    """Return the sum of absolute score changes between consecutive frames, and of how many pairs.

    Pairs count where the track was found in at least one of the two frames; not found is a score of 0.
    """
    total, pairs = 0.0, 0
    for line in tracks:
        first, second = line[:-1], line[1:]
        both = ~np.isnan(first) & ~np.isnan(second)
        use = both & (np.nan_to_num(first) + np.nan_to_num(second) > 0)
        total += float(np.abs(second[use] - first[use]).sum())
        pairs += int(use.sum())
    return total, pairs


def appearance_lags(
    tracks: Iterable[NDArray[np.float32]], times_s: NDArray[np.float64], score: float
) -> list[float]:
    """Return, for tracks that appear after the first frame, seconds until they are first reported.

    One that is never reported lags to the end of the clip.
    """
    lags = []
    for line in tracks:
        shown = np.flatnonzero(~np.isnan(line))
        if len(shown) and shown[0] > 0:
            found = np.flatnonzero(np.nan_to_num(line) >= score)
            end = found[0] if len(found) else len(line) - 1
            lags.append(float(times_s[end] - times_s[shown[0]]))
    return lags
