"""How GLIP is trained: which position learns which object, and what it is told.

Every position of the pyramid has one anchor. ATSS (arXiv 1912.02424) decides which anchors stand for
which object; an anchor's tokens of that object's phrase are pulled up, all others down (GLIP, arXiv
2112.03857, section 3.1); its box and its centerness are regressed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from groundstream.models.glip.head import Predictions
from groundstream.models.glip.postprocess import anchors, decode, pixel_iou

NEAREST_PER_LEVEL = 9
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
#: Weights of the parts, as in the published configurations.
ALIGNMENT_WEIGHT, BOX_WEIGHT, CENTERNESS_WEIGHT = 2.0, 2.0, 1.0


class Target(NamedTuple):
    """The truth about one picture.

    `boxes` (G, 4) float32 xyxy in canvas pixels; `tokens` (G, T) is 1 on the tokens of each object's
    phrases (an object may have several, a phrase several objects), else 0.
    """

    boxes: Tensor
    tokens: Tensor


class Losses(NamedTuple):
    """The three parts, already weighted; scalars."""

    alignment: Tensor
    box: Tensor
    centerness: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.alignment + self.box + self.centerness


def glip_losses(predictions: Predictions, targets: Sequence[Target], mask: Tensor) -> Losses:
    """Compare predictions with the truth.

    Args:
        predictions: of B pictures, with T token columns.
        targets: one per picture; a picture may have no object.
        mask: (B, T) bool, True on real tokens; the others teach nothing.

    Raises:
        ValueError: the number of targets is not the number of pictures.
    """
    if len(targets) != len(predictions.logits):
        raise ValueError(
            f"expected {len(predictions.logits)} targets, one per picture, but got {len(targets)}"
        )
    around = anchors(predictions.sizes, predictions.logits.device)
    counts = [height * width for height, width in predictions.sizes]
    owners = torch.stack([assign(around, counts, target.boxes) for target in targets])  # (B, N)
    positive = (owners >= 0).nonzero()  # (K, 2): picture, position
    wanted = [target.boxes[owner[owner >= 0]] for target, owner in zip(targets, owners, strict=True)]
    box, centerness = _shape_losses(predictions, around, positive, torch.cat(wanted))
    alignment = token_focal_loss(predictions.logits, _token_targets(owners, targets), mask)
    count = max(len(positive), 1)
    return Losses(
        ALIGNMENT_WEIGHT * alignment / count, BOX_WEIGHT * box, CENTERNESS_WEIGHT * centerness / count
    )


def assign(around: Tensor, level_counts: Sequence[int], boxes: Tensor) -> Tensor:
    """Decide which object each anchor stands for.

    For an object, the nine anchors of each level whose centres are nearest are candidates. Those that
    overlap it at least as much as the mean plus the standard deviation of all its candidates, and whose
    centre lies inside it, are its own; an anchor that two objects claim goes to the larger overlap.

    Args:
        around: (N, 4) anchors of all levels.
        level_counts: anchors per level, which sum to N.
        boxes: (G, 4) objects.

    Returns:
        (N,) int64, the object's number, -1 for background.
    """
    if len(boxes) == 0:
        return torch.full((len(around),), -1, dtype=torch.int64, device=around.device)
    overlap = pixel_iou(around, boxes)  # (N, G)
    centre = (around[:, :2] + around[:, 2:]) / 2
    distance = torch.cdist(centre, (boxes[:, :2] + boxes[:, 2:]) / 2)  # (N, G)
    candidate = torch.zeros_like(overlap, dtype=torch.bool)
    start = 0
    for count in level_counts:
        nearest = distance[start : start + count].topk(min(NEAREST_PER_LEVEL, count), dim=0, largest=False)
        candidate.scatter_(0, nearest.indices + start, True)
        start += count
    claims = overlap.masked_fill(~candidate, torch.nan)
    mean = claims.nanmean(0)
    spread = ((claims - mean) ** 2).nansum(0).div((candidate.sum(0) - 1).clamp(min=1)).sqrt()
    inside = ((centre[:, None] > boxes[:, :2]) & (centre[:, None] < boxes[:, 2:])).all(2)
    own = candidate & inside & (overlap >= mean + spread)
    best, owner = overlap.masked_fill(~own, -1).max(1)
    return torch.where(best >= 0, owner, -1)


def token_focal_loss(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Return the focal loss (arXiv 1708.02002) of (B, N, T) logits, summed over real tokens; a scalar.

    `targets` (B, N, T) are 0 or 1, `mask` (B, T) is True on real tokens.
    """
    logits, targets = logits.float(), targets.float()
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    right = logits.sigmoid() * (2 * targets - 1) + (1 - targets)  # probability given to the truth
    weight = FOCAL_ALPHA * targets + (1 - FOCAL_ALPHA) * (1 - targets)
    loss = weight * (1 - right) ** FOCAL_GAMMA * entropy
    return (loss * mask[:, None, :]).sum()


def giou_loss(boxes: Tensor, wanted: Tensor) -> Tensor:
    """Return (K,) 1 - generalised intersection over union (arXiv 1902.09630) of (K, 4) xyxy pairs."""
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    low, high = torch.maximum(boxes[:, :2], wanted[:, :2]), torch.minimum(boxes[:, 2:], wanted[:, 2:])
    overlap = (high - low).clamp(min=0).prod(1)
    union = size.prod(1) + (wanted[:, 2:] - wanted[:, :2]).prod(1) - overlap
    outer_low = torch.minimum(boxes[:, :2], wanted[:, :2])
    outer_high = torch.maximum(boxes[:, 2:], wanted[:, 2:])
    outer = (outer_high - outer_low).clamp(min=0).prod(1)
    tiny = torch.finfo(boxes.dtype).eps
    return 1 - overlap / union.clamp(min=tiny) + (outer - union) / outer.clamp(min=tiny)


def centerness_of(around: Tensor, boxes: Tensor) -> Tensor:
    """Return (K,) in 0..1 how central (K, 4) anchors lie in their (K, 4) objects (arXiv 1904.01355)."""
    centre = (around[:, :2] + around[:, 2:]) / 2
    before, after = centre - boxes[:, :2], boxes[:, 2:] - centre
    return (torch.minimum(before, after) / torch.maximum(before, after)).clamp(min=0).prod(1).sqrt()


def _shape_losses(
    predictions: Predictions, around: Tensor, positive: Tensor, wanted: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the box loss, weighted by centerness, and the summed centerness loss, of K positives."""
    picture, position = positive.unbind(1)
    central = centerness_of(around[position], wanted)
    found = decode(predictions.deltas[picture, position], around[position])
    box = (giou_loss(found, wanted) * central).sum() / central.sum().clamp(min=1e-6)
    logits = predictions.centerness[picture, position].float()
    return box, F.binary_cross_entropy_with_logits(logits, central, reduction="sum")


def _token_targets(owners: Tensor, targets: Sequence[Target]) -> Tensor:
    """Return (B, N, T): each position's row of its object's tokens; zeros for background."""
    background = [torch.cat((t.tokens, t.tokens.new_zeros(1, t.tokens.shape[1]))) for t in targets]
    return torch.stack([rows[owner] for rows, owner in zip(background, owners, strict=True)])
