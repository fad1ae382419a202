"""What a thing is: the part of the open branch that proposes boxes, trained on frozen region features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from groundstream.models.common.postprocess import iou_matrix
from groundstream.models.nano.cells import Cells
from groundstream.models.nano.open_head import OpenHead, object_boxes
from training.glip.losses import assign, giou_loss, token_focal_loss

#: side of a cell's anchor in strides, for ATSS.
ANCHOR_STRIDES = 5
BOX_WEIGHT = 2.0


class ObjectsTruth(NamedTuple):
    """Which thing each cell of a picture stands for (N,), -1 for none, and the (N, 4) box of that thing."""

    owners: Tensor
    boxes: Tensor


def cells_of(strides_px: Sequence[int], side_px: int) -> tuple[Tensor, list[int]]:
    """Return the (N, 4) anchors of a square canvas, all levels below each other, and cells per level."""
    found, counts = [], []
    for stride in strides_px:
        width = side_px // stride
        cells = torch.arange(width * width)
        centre = (torch.stack((cells % width, cells // width), 1) + 0.5) * stride
        half = ANCHOR_STRIDES * stride / 2
        found.append(torch.cat((centre - half, centre + half), 1))
        counts.append(width * width)
    return torch.cat(found), counts


def find_truth(boxes: Tensor, anchors: Tensor, counts: Sequence[int]) -> ObjectsTruth:
    """Assign the cells of a picture to its (M, 4) `boxes`; rows of NaN are no boxes."""
    real = boxes[~boxes.isnan().any(1)]
    owners = assign(anchors, counts, real)
    wanted = torch.zeros(len(anchors), 4)
    wanted[owners >= 0] = real[owners[owners >= 0]]
    return ObjectsTruth(owners, wanted)


def objects_loss(
    head: OpenHead, regions: Tensor, truths: Sequence[ObjectsTruth], counts: Sequence[int]
) -> Tensor:
    """Return the focal loss of "is a thing" plus GIoU of the boxes, per positive cell; a scalar.

    Args:
        head: what learns.
        regions: (B, N, 128) frozen region features of square pictures.
        truths: one per picture.
        counts: cells per level, which sum to N.
    """
    wanted = torch.stack([truth.boxes for truth in truths])  # (B, N, 4)
    positive = torch.stack([truth.owners >= 0 for truth in truths])  # (B, N)
    logits, boxes = [], []
    for level, part in enumerate(torch.split(regions, list(counts), 1)):
        width = round(counts[level] ** 0.5)
        cells = torch.arange(counts[level]).repeat(len(part))
        logit, box = _objects_at(head, level, part.flatten(0, 1), cells, width)
        logits.append(logit.view(len(part), -1))
        boxes.append(box.view(len(part), -1, 4))
    everything = torch.cat(logits, 1)
    mask = torch.ones(len(regions), 1, dtype=torch.bool)
    focal = token_focal_loss(everything[..., None], positive[..., None], mask)
    shape = giou_loss(torch.cat(boxes, 1)[positive], wanted[positive]).sum()
    return (focal + BOX_WEIGHT * shape) / positive.sum().clamp(min=1)


def _objects_at(
    head: OpenHead, level: int, regions: Tensor, cells: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """Return (K,) logits that a cell is a thing's, and (K, 4) xyxy boxes in canvas pixels.

    Args:
        head: proposes.
        level: which level the cells belong to.
        regions: (K, 128) float32 frozen region features of the cells.
        cells: (K,) int64 numbers of the cells, row by row.
        width: cells per row of that level.
    """
    centres = torch.stack((cells % width, cells // width), 1) + 0.5  # in strides
    stride = centres.new_tensor([[head.strides_px[level]]])
    here = Cells(cells, torch.full_like(cells, level), centres * stride, stride, regions)
    answer = head.objects[level](regions)
    return answer[:, 0], object_boxes(here, answer)


@torch.inference_mode()
def recall(head: OpenHead, regions: Tensor, boxes: Tensor, side_px: int, iou: float = 0.5) -> float:
    """Return the part of the true boxes that some proposal overlaps by at least `iou`.

    Args:
        head: proposes.
        regions: (B, N, 128) frozen region features of square pictures.
        boxes: (B, M, 4) true boxes; rows of NaN are no boxes.
        side_px: side of the pictures.
        iou: overlap that counts.
    """
    widths = [side_px // stride for stride in head.strides_px]
    found = total = 0
    for features, truth in zip(regions, boxes, strict=True):
        real = truth[~truth.isnan().any(1)]
        levels = torch.split(features.float(), [width * width for width in widths])
        proposals = head.propose(levels, widths, (side_px, side_px))
        if len(real):
            found += int((iou_matrix(proposals.boxes, real).amax(0) >= iou).sum())
            total += len(real)
    return found / max(total, 1)
