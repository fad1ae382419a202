"""The open branch: finds things of any kind on the frozen maps, and says which of many concepts each one is.

Two steps, because naming needs the whole of a thing: a small network over the frozen region features proposes
boxes of anything that looks like a thing; then frozen maps of four depths are sampled on a grid inside each
box (Fast R-CNN's idea, Girshick 2015, with points in place of bins), and one hidden layer turns them into a
region embedding, which is held against one vector per concept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from groundstream.models.common.postprocess import suppress_per_phrase
from groundstream.models.nano.cells import Cells, pick_cells
from groundstream.models.nano.config import NanoConfig
from groundstream.models.nano.packed import Conv, Linear
from groundstream.models.nano.sampling import sample_maps

#: distances stay below exp(this) strides.
LARGEST_LOG_DISTANCE = 5.0


@dataclass(frozen=True)
class OpenConfig:
    """Sizes of the open branch.

    Attributes:
        depths: channels of the frozen stage maps at strides 4, 8, 16, 32.
        reduced: channels that each of these is reduced to.
        grid: points per direction inside a box, per map.
        object_width: hidden width of the network that proposes boxes.
        width: length of a region embedding.
        most_cells: strongest cells whose boxes compete.
        most_boxes: proposals that are named.
        overlap_iou: of two proposals that overlap more, the weaker one goes.
    """

    depths: tuple[int, ...] = (64, 128, 256, 512)
    reduced: tuple[int, ...] = (24, 64, 96, 128)
    grid: tuple[int, ...] = (6, 5, 5, 3)
    object_width: int = 64
    width: int = 256
    most_cells: int = 150
    most_boxes: int = 48
    overlap_iou: float = 0.6

    @property
    def samples(self) -> int:
        """Numbers that describe one box: points times reduced channels, over all maps."""
        return sum(points**2 * width for points, width in zip(self.grid, self.reduced, strict=True))


class Proposals(NamedTuple):
    """K boxes that look like things, best first.

    `boxes` (K, 4) xyxy in canvas pixels, `scores` (K,) how much each looks like a thing, 0..1, `cells` the K
    cells that proposed them.
    """

    boxes: Tensor
    scores: Tensor
    cells: Cells


class Named(NamedTuple):
    """(K, 4) refined xyxy boxes and (K, C + 1) probabilities of the concepts; the last one is "nothing"."""

    boxes: Tensor
    concepts: Tensor


class OpenHead(nn.Module):
    """What the open branch learns.

    Args:
        config: sizes of the branch.
        network: sizes of the frozen network.
        concepts: how many concepts there are.
    """

    def __init__(self, config: OpenConfig, network: NanoConfig, concepts: int) -> None:
        super().__init__()
        self.config, self.strides_px = config, network.strides_px
        self.objects = nn.ModuleList(
            nn.Sequential(
                nn.Linear(network.neck_channels, config.object_width),
                nn.ReLU(),
                nn.Linear(config.object_width, 5),
            )
            for _ in network.strides_px
        )
        self.reduce = nn.ModuleList(
            Conv(depth, width) for depth, width in zip(config.depths, config.reduced, strict=True)
        )
        self.embed = Linear(config.samples, config.width)
        self.concepts = nn.Linear(config.width, concepts + 1)
        self.refine = nn.Linear(config.width, 4)

    def reduce_maps(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """Map frozen (B, depth, H, W) maps to (B, reduced, H, W) ones, which boxes are described with."""
        return [reduce(stage) for reduce, stage in zip(self.reduce, stages, strict=True)]

    def objectness(self, regions: Sequence[Tensor]) -> Tensor:
        """Return (N,) logits that a cell is a thing's, through all levels; `regions` as for `propose`."""
        logits = []
        for part, region in zip(self.objects, regions, strict=True):
            first, last = part.get_submodule("0"), part.get_submodule("2")
            hidden = first(region).relu_()
            logits.append(hidden @ last.get_parameter("weight")[0] + last.get_parameter("bias")[0])
        return torch.cat(logits)

    def propose(
        self, regions: Sequence[Tensor], widths: Sequence[int], content_px: tuple[int, int]
    ) -> Proposals:
        """Return the boxes of one picture that look like things, clipped to the picture.

        Args:
            regions: per level (N_l, 128) float32 frozen region features.
            widths: per level cells per row.
            content_px: height and width of the picture on the canvas.
        """
        logits = self.objectness(regions)
        logits, numbers = logits.topk(min(self.config.most_cells, len(logits)))
        cells = pick_cells(regions, widths, self.strides_px, numbers)
        boxes = object_boxes(cells, cells.apply(list(self.objects)))
        boxes = boxes.clamp(min=0).minimum(boxes.new_tensor(content_px[::-1]).repeat(2))
        scores = logits.sigmoid()[:, None]
        kept = suppress_per_phrase(boxes, scores, self.config.overlap_iou, 0.0)
        best = torch.nonzero(kept[:, 0] > 0)[: self.config.most_boxes, 0]  # still best first
        return Proposals(boxes[best], scores[best, 0], Cells(*(part[best] for part in cells)))

    def refine_boxes(self, embedded: Tensor, boxes: Tensor) -> Tensor:
        """Move (K, 4) xyxy boxes to where their (K, width) region embeddings say that the thing ends."""
        return move_boxes(boxes, self.refine(embedded))

    def forward(self, maps: Sequence[Tensor], boxes: Tensor, canvas_px: tuple[int, int]) -> Named:
        """Name the boxes of one picture.

        Args:
            maps: (1, reduced, H, W) each, from `reduce_maps`.
            boxes: (K, 4) xyxy in canvas pixels.
            canvas_px: height and width of the canvas.
        """
        embedded = self.embed.rectified(sample_maps(maps, boxes, self.config.grid, canvas_px)).float()
        return Named(self.refine_boxes(embedded, boxes), self.concepts(embedded).softmax(1))


def object_boxes(cells: Cells, answers: Tensor) -> Tensor:
    """Return (K, 4) xyxy boxes of `cells`; (K, 5) `answers` are a logit and logarithms of four distances."""
    return cells.boxes(answers[:, 1:].clamp(max=LARGEST_LOG_DISTANCE).exp())


def move_boxes(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Move (K, 4) xyxy boxes by (K, 4) deltas: shifts of centre in sides, logarithms of sides."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + deltas[:, :2] * sides
    half = sides * deltas[:, 2:].clamp(-1, 1).exp() / 2
    return torch.cat((centre - half, centre + half), 1)
