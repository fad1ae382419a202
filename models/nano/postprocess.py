"""From region features and classifier rows to the candidates of one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from groundstream.models.common.postprocess import suppress_per_phrase
from groundstream.models.nano.cells import pick_cells
from groundstream.models.nano.network import NanoHead

#: most cells that enter suppression; a crowded street has a few hundred above the floor.
MOST_CELLS = 600
OVERLAP_IOU = 0.6


class Candidates(NamedTuple):
    """(N, 4) xyxy boxes in canvas pixels and (N, P) scores; suppressed scores are zero."""

    boxes: Tensor
    scores: Tensor


def phrase_logits(logits: Tensor, spans: tuple[tuple[int, int], ...]) -> Tensor:
    """Return (N, P): each phrase's best row of (N, T) `logits`; minus infinity for a phrase without rows."""
    owners = [phrase for phrase, (start, end) in enumerate(spans) for _ in range(start, end)]
    owner = torch.tensor(owners, dtype=torch.int64, device=logits.device)
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
    logits = torch.cat(
        [
            torch.addmm(rows[:, level, -1:], rows[:, level, :-1], region.T)
            for level, region in enumerate(regions)
        ],
        1,
    )  # (T, N)
    cells = _best_cells(logits, floor)
    scores = phrase_logits(logits[:, cells].T, spans).sigmoid_()
    if not len(cells):
        return Candidates(scores.new_zeros(0, 4), scores)
    boxes = head.boxes(pick_cells(regions, widths, head.strides_px, cells))
    # Phrases that nothing answers to cost nothing in suppression, which is quadratic in cells per phrase.
    active = (scores >= floor).any(0)
    kept = torch.zeros_like(scores)
    kept[:, active] = suppress_per_phrase(boxes, scores[:, active], OVERLAP_IOU, floor)
    (alive,) = torch.nonzero((kept >= floor).any(1), as_tuple=True)
    return Candidates(boxes[alive], kept[alive])


def _best_cells(logits: Tensor, floor: float) -> Tensor:
    """Return the numbers of the cells, columns of (T, N) `logits`, whose best row scores at least `floor`."""
    if not len(logits):
        return torch.zeros(0, dtype=torch.int64, device=logits.device)
    best = logits.amax(0).sigmoid_()
    (cells,) = torch.nonzero(best >= floor, as_tuple=True)
    return cells if len(cells) <= MOST_CELLS else best.topk(MOST_CELLS).indices
