"""From predictions to boxes, in the original's "+1" conventions: a box from 10 to 12 is three pixels wide.

Source: `modeling/rpn/inference.py`, `anchor_generator.py`, `modeling/rpn/vldyhead.py` (BoxCoder).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from groundstream.models.glip.config import STRIDES
from groundstream.models.glip.head import Predictions
from groundstream.models.types import RawDetections

#: An anchor's side in strides of its level.
ANCHOR_STRIDES = 8
#: Deltas are multiplied by these in training: centre, then size.
CENTRE_WEIGHT, SIZE_WEIGHT = 10.0, 5.0
LARGEST_LOG_SCALE = math.log(1000 / 16)
#: A position competes for a phrase from this mean token probability on, before its centerness counts.
PHRASE_THRESHOLD = 0.05
MOST_PER_LEVEL = 1000
OVERLAP_IOU = 0.6
#: Boxes of one picture and text, over all phrases.
MOST_BOXES = 100
#: Suppression looks at this many of the strongest candidates first; most pictures need no more.
FIRST_LOOK = 512


class Found(NamedTuple):
    """Candidates of one picture, each for one phrase.

    `boxes` (N, 4) xyxy in canvas pixels, `scores` (N,) in 0..1, `phrases` (N,) columns of the prompt,
    `positions` (N,) rows of the predictions that they came from.
    """

    boxes: Tensor
    scores: Tensor
    phrases: Tensor
    positions: Tensor

    def take(self, rows: Tensor) -> Found:
        """Return the candidates at `rows`."""
        return Found(*(column[rows] for column in self))


def find_boxes(
    predictions: Predictions,
    picture: int,
    spans: Sequence[tuple[int, int]],
    content_px: tuple[int, int],
    floor: float,
) -> Found:
    """Return the boxes of one picture's phrases, strongest first.

    Args:
        predictions: of a batch.
        picture: which of the batch.
        spans: half-open token range of each phrase; an empty one finds nothing.
        content_px: height and width of the picture inside the canvas; boxes are clipped to it.
        floor: lowest score of a box.
    """
    candidates = find_candidates(predictions, picture, spans, content_px, floor)
    joined = Found(*(torch.cat(columns) for columns in zip(*candidates, strict=True)))
    strongest = joined.take(joined.scores.argsort(descending=True, stable=True))
    return strongest.take(surviving(strongest))


def find_candidates(
    predictions: Predictions,
    picture: int,
    spans: Sequence[tuple[int, int]],
    content_px: tuple[int, int],
    floor: float = 0.0,
) -> list[Found]:
    """Return the candidates of each level before suppression; arguments as for `find_boxes`."""
    logits = predictions.logits[picture].float()
    probability = logits.sigmoid() @ token_means(spans, logits)  # (N, P)
    product = probability * predictions.centerness[picture].float().sigmoid()[:, None]
    # The threshold looks at the phrase alone; centerness only ranks.
    product = product.masked_fill((probability <= PHRASE_THRESHOLD) | (product < floor**2), -1)
    counts = [height * width for height, width in predictions.sizes]
    starts = np.cumsum([0, *counts[:-1]]).tolist()
    found = []
    for start, count in zip(starts, counts, strict=True):
        position, phrase, score = _strongest_pairs(product[start : start + count])
        found.append((position + start, phrase, score))
    boxes = decode(predictions.deltas[picture], anchors(predictions.sizes, logits.device))
    limit = boxes.new_tensor([content_px[1], content_px[0]] * 2) - 1
    return [
        Found(boxes[position].clamp(min=0).minimum(limit), score.sqrt(), phrase, position)
        for position, phrase, score in found
    ]


def token_means(spans: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    """Return the (T, P) matrix that averages (..., T) token columns of `like` over each phrase's span."""
    table = torch.zeros(len(spans), like.shape[-1])
    for row, (begin, end) in enumerate(spans):
        table[row, begin:end] = 1 / max(end - begin, 1)
    return table.T.to(like)


def anchors(sizes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Return (N, 4) xyxy anchors: one square per position of P3..P7, around the middle of its cell."""
    found = []
    for stride, (height, width) in zip(STRIDES, sizes, strict=True):
        half = (ANCHOR_STRIDES * stride - 1) / 2
        y = torch.arange(height, device=device) * stride + (stride - 1) / 2
        x = torch.arange(width, device=device) * stride + (stride - 1) / 2
        centres = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flip(-1).flatten(0, 1)
        found.append(torch.cat((centres - half, centres + half), 1))
    return torch.cat(found)


def decode(deltas: Tensor, around: Tensor) -> Tensor:
    """Move (N, 4) anchors by (N, 4) predicted deltas; float32."""
    deltas = deltas.float()
    size = around[:, 2:] - around[:, :2] + 1
    centre = (around[:, 2:] + around[:, :2]) / 2 + deltas[:, :2] / CENTRE_WEIGHT * size
    size = (deltas[:, 2:] / SIZE_WEIGHT).clamp(max=LARGEST_LOG_SCALE).exp() * size
    return torch.cat((centre - (size - 1) / 2, centre + (size - 1) / 2), 1)


def encode(boxes: Tensor, around: Tensor) -> Tensor:
    """Return the (N, 4) deltas that `decode` turns back into `boxes`."""
    size, wanted = around[:, 2:] - around[:, :2] + 1, boxes[:, 2:] - boxes[:, :2] + 1
    moved = (boxes[:, 2:] + boxes[:, :2] - around[:, 2:] - around[:, :2]) / 2
    return torch.cat((CENTRE_WEIGHT * moved / size, SIZE_WEIGHT * (wanted / size).log()), 1)


def surviving(strongest: Found) -> Tensor:
    """Return the rows of candidates, strongest first, that class-wise suppression leaves: the best 100.

    Whether a candidate stays depends on stronger ones only, so a prefix of them is enough as soon as it
    yields enough survivors. All that tie with the last one stay, as in the original.
    """
    look = FIRST_LOOK
    while True:
        kept = not_suppressed(strongest.take(torch.arange(look)[: len(strongest.scores)])).nonzero()[:, 0]
        if len(kept) >= MOST_BOXES:
            last = strongest.scores[kept[MOST_BOXES - 1]]
            if look >= len(strongest.scores) or strongest.scores[look - 1] < last:
                return kept[strongest.scores[kept] >= last]
        if look >= len(strongest.scores):
            return kept
        look *= 2


def not_suppressed(strongest: Found) -> Tensor:
    """Return (N,) bool: greedy suppression per phrase of candidates that are ordered strongest first.

    "A box stays unless a stronger box of its phrase that stays overlaps it" has one solution; repeating
    the rule for all boxes at once reaches it in as many rounds as the longest chain of overlaps.
    """
    same = strongest.phrases[:, None] == strongest.phrases[None, :]
    conflict = (same & (pixel_iou(strongest.boxes, strongest.boxes) > OVERLAP_IOU)).triu(1).float()
    keep = conflict.new_ones(len(conflict))
    while True:
        following = (keep @ conflict == 0).float()
        if torch.equal(following, keep):
            return keep > 0
        keep = following


def pixel_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return (N, M) intersection over union of (N, 4) and (M, 4) xyxy boxes, last pixels included.

    Not `iou_matrix`: GLIP was trained with boxes that end on their last pixel, one wider and higher than
    their corners say, and its suppression has to count as its training did.
    """
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = (high - low + 1).clamp_(min=0).prod(2)
    area_first, area_second = ((boxes[:, 2:] - boxes[:, :2] + 1).prod(1) for boxes in (first, second))
    return overlap / (area_first[:, None] + area_second[None, :] - overlap)


def to_raw(found: Found, phrase_count: int) -> RawDetections:
    """Turn pairs of box and phrase into rows of boxes with a column per phrase.

    A position that stands for two phrases is one row. A phrase that was suppressed at a position has no
    score there, so the scores above zero are exactly the pairs of the original.
    """
    positions, row = torch.unique(found.positions.cpu(), return_inverse=True)
    boxes = torch.zeros(len(positions), 4)
    boxes[row] = found.boxes.cpu()
    table = torch.zeros(len(positions), phrase_count)
    table[row, found.phrases.cpu()] = found.scores.cpu()
    order = table.amax(1).argsort(descending=True, stable=True) if phrase_count else row
    return RawDetections(boxes[order].numpy(), table[order].numpy())


def _strongest_pairs(product: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return position, phrase and value of the strongest non-negative entries of (N, P)."""
    flat = product.flatten()
    eligible = (flat >= 0).nonzero()[:, 0]
    values, which = flat[eligible].topk(min(MOST_PER_LEVEL, len(eligible)))
    index = eligible[which]
    phrases = max(product.shape[1], 1)
    return index // phrases, index % phrases, values
