"""From region features and classifier rows to the candidates of one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from groundstream.models.nano.head import NanoHead
from groundstream.models.postprocess import best_rows, suppress_per_phrase

#: most cells that enter suppression; a crowded street has a few hundred above the floor.
MOST_CELLS = 600
OVERLAP_IOU = 0.6


class Candidates(NamedTuple):
    """(N, 4) xyxy boxes in canvas pixels and (N, P) scores; suppressed scores are zero."""

    boxes: Tensor
    scores: Tensor


def phrase_logits(logits: Tensor, spans: tuple[tuple[int, int], ...]) -> Tensor:
    """Return (N, P): each phrase's best row of (N, T) `logits`; minus infinity for a phrase without rows."""
    owner = torch.zeros(logits.shape[1], dtype=torch.int64, device=logits.device)
    for phrase, (start, end) in enumerate(spans):
        owner[start:end] = phrase
    empty = logits.new_full((len(logits), len(spans)), -torch.inf)
    return empty.scatter_reduce(1, owner.expand_as(logits), logits, "amax")


def find_candidates(
    head: NanoHead,
    regions: Sequence[Tensor],
    widths: tuple[int, ...],
    rows: Tensor,
    spans: tuple[tuple[int, int], ...],
    floor: float,
) -> Candidates:
    """Score every cell of one picture, decode the boxes of the good ones, suppress per phrase.

    Args:
        head: decodes boxes.
        regions: per level (N_l, 128) float32 region features.
        widths: per level cells per row.
        rows: (T, 3, 129) classifier rows, weight and bias per level.
        spans: for each phrase its rows.
        floor: lowest score that counts.
    """
    boxes, scores = [], []
    for level, region in enumerate(regions):
        logits = phrase_logits(region @ rows[:, level, :-1].T + rows[:, level, -1], spans)
        cells = best_rows(logits.sigmoid_(), floor, MOST_CELLS)
        boxes.append(head.boxes(level, region[cells], cells, widths[level]))
        scores.append(logits[cells])
    all_boxes, all_scores = torch.cat(boxes), torch.cat(scores)
    best = best_rows(all_scores, floor, MOST_CELLS)
    all_boxes, all_scores = all_boxes[best], all_scores[best]
    # Phrases that nothing answers to cost nothing in suppression, which is quadratic in cells per phrase.
    active = (all_scores >= floor).any(0)
    kept = torch.zeros_like(all_scores)
    kept[:, active] = suppress_per_phrase(all_boxes, all_scores[:, active], OVERLAP_IOU, floor)
    alive = (kept >= floor).any(1)
    return Candidates(all_boxes[alive], kept[alive])
