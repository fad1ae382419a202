"""Candidates of several phrases for one thing become one candidate with several phrases."""

from __future__ import annotations

import numpy as np
import supervision as sv

from groundstream.models.types import RawDetections


def merge_overlapping(raw: RawDetections, overlap_iou: float) -> RawDetections:
    """Merge each box into the best-scored one that it overlaps by more than `overlap_iou`.

    Greedy, best score first, whatever the phrase: the stronger box stays as it is and takes, phrase by
    phrase, the higher of both scores, so that "person" and "man" on one person are one object with two
    phrases.

    Args:
        raw: N candidates, highest best score first.
        overlap_iou: intersection over union, 0..1.
    """
    count = len(raw.boxes_model)
    if count < 2:
        return raw
    overlaps = sv.box_iou_batch(raw.boxes_model, raw.boxes_model) > overlap_iou  # (N, N)
    alive = np.ones(count, bool)
    keep: list[int] = []
    scores = raw.phrase_scores.copy()
    for row in range(count):
        if not alive[row]:
            continue
        same = overlaps[row] & alive
        same[row] = True
        scores[row] = raw.phrase_scores[same].max(axis=0)
        alive[same] = False
        keep.append(row)
    return RawDetections(raw.boxes_model[keep], scores[keep])
