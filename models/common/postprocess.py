"""From scores and boxes to candidates: box arithmetic, the best few, suppression per phrase. Vectorised."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from groundstream.models.types import RawDetections

#: most candidates that one text returns per picture.
LIMIT = 300


def corners(boxes: Tensor) -> Tensor:
    """Turn (..., 4) boxes from centre x, centre y, width, height to x0, y0, x1, y1."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), -1)


def iou_matrix(first: Tensor, second: Tensor) -> Tensor:
    """Return (N, M) intersection over union of (N, 4) and (M, 4) xyxy boxes; 0 where both are empty.

    For tensors; arrays have `supervision.box_iou_batch`.
    """
    # Planes of one coordinate each: two or four numbers in a row are too few for a processor's vectors.
    x0, y0, x1, y1 = first.T.contiguous()[:, :, None]  # (N, 1) each
    u0, v0, u1, v1 = second.T.contiguous()[:, None]  # (1, M) each
    wide = (torch.minimum(x1, u1) - torch.maximum(x0, u0)).clamp_(min=0)
    overlap = wide * (torch.minimum(y1, v1) - torch.maximum(y0, v0)).clamp_(min=0)
    area_first = (x1 - x0).clamp(min=0) * (y1 - y0).clamp(min=0)
    area_second = (u1 - u0).clamp(min=0) * (v1 - v0).clamp(min=0)
    union = area_first + area_second - overlap
    iou: Tensor = overlap / union.clamp(min=torch.finfo(union.dtype).tiny)
    return iou


def suppress_per_phrase(boxes: Tensor, scores: Tensor, overlap_iou: float, floor: float) -> Tensor:
    """Set to zero each score whose box overlaps a stronger box of the same phrase (greedy suppression).

    Greedy suppression is the only fixed point of "a box stays unless a stronger box that stays overlaps
    it", so it is found by repeating that rule for all boxes and phrases at once until nothing changes.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N, P) one column per phrase.
        overlap_iou: boxes that overlap more than this are one.
        floor: scores below this suppress nothing and are set to zero as well.

    Returns:
        (N, P) the scores that stay, zero elsewhere.
    """
    alive = (scores >= floor).T  # (P, N)
    column = scores.T.contiguous()
    mine, other = column[:, :, None], column[:, None, :]
    earlier = torch.ones(len(boxes), len(boxes), dtype=torch.bool, device=boxes.device).tril_(-1)
    stronger = (other > mine) | ((other == mine) & earlier)
    rivals = stronger & (iou_matrix(boxes, boxes) > overlap_iou) & alive[:, None, :]
    suppressed_by = rivals.to(scores.dtype)  # (P, N, N): 1 where the last one suppresses the middle one
    keep = alive
    while True:
        rivals_left = torch.bmm(suppressed_by, keep[:, :, None].to(scores.dtype))[:, :, 0]
        following = alive & (rivals_left == 0)
        if torch.equal(following, keep):
            return scores * keep.T
        keep = following


def best_rows(scores: Tensor, floor: float, limit: int = LIMIT) -> Tensor:
    """Return the rows of (N, P) `scores` whose best phrase reaches `floor`: at most `limit`, best first."""
    if scores.shape[1] == 0 or scores.shape[0] == 0:
        return torch.zeros(0, dtype=torch.int64, device=scores.device)
    best = scores.amax(1)
    values, rows = best.topk(min(limit, len(best)))
    return rows[values >= floor]


def to_raw(boxes: Tensor, scores: Tensor) -> RawDetections:
    """Move (N, 4) boxes and (N, P) scores, best first, to plain float32 arrays."""
    return RawDetections(
        np.ascontiguousarray(boxes.detach().float().cpu().numpy()),
        np.ascontiguousarray(scores.detach().float().cpu().numpy()),
    )
