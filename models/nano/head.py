"""From pyramid levels to boxes and, given classifier rows, to scores."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundstream.models.nano.backbone import ConvLeaky
from groundstream.models.nano.cells import Cells
from groundstream.models.nano.config import NanoConfig


class NanoHead(nn.Module):
    """Region features per cell, and the distances from a cell's centre to the four sides of its box.

    A side's distance is the expectation over a softmax of 11 bins, in strides (generalised focal loss,
    Li et al. 2020, section 3). `names` and `names_bias` are the closed-set classifier of the 80 COCO names.
    """

    def __init__(self, config: NanoConfig, names: int) -> None:
        super().__init__()
        width, levels = config.neck_channels, len(config.strides_px)
        self.strides_px = config.strides_px
        self.bins = config.distance_bins
        self.regions = nn.ModuleList(ConvLeaky(width, width) for _ in range(levels))
        self.distances = nn.ModuleList(nn.Linear(width, 4 * self.bins) for _ in range(levels))
        self.names = nn.Parameter(torch.zeros(levels, names, width))
        self.names_bias = nn.Parameter(torch.zeros(levels, names))

    def region_features(self, levels: tuple[Tensor, ...]) -> list[Tensor]:
        """Map (B, 128, H_l, W_l) maps to (B, H_l * W_l, 128) float32 features, row by row."""
        return [
            region(x).flatten(2).transpose(1, 2).float()
            for region, x in zip(self.regions, levels, strict=True)
        ]

    def boxes(self, cells: Cells) -> Tensor:
        """Return the (K, 4) xyxy boxes of `cells` in canvas pixels."""
        logits = cells.apply(list(self.distances)).T.reshape(4, self.bins, -1)
        bins = logits.softmax(1)  # with the cells last, which is faster: eleven is less than a vector
        distance = torch.arange(self.bins, dtype=bins.dtype, device=bins.device) @ bins  # (4, K) in strides
        return cells.boxes(distance.T)

    def class_scores(self, cells: Cells) -> Tensor:
        """Return (K, 80) how sure each cell is of each class, 0..1."""
        layers = [
            partial(F.linear, weight=names, bias=bias)
            for names, bias in zip(self.names, self.names_bias, strict=True)
        ]
        return cells.apply(layers).sigmoid()
