"""The frozen network: head on backbone, from pictures to region features, boxes and class scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundstream.models.nano.backbone import ConvLeaky, NanoBackbone
from groundstream.models.nano.cells import Cells
from groundstream.models.nano.config import COCO_NAMES, NanoConfig


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


class NanoNetwork(nn.Module):
    """The frozen network."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.backbone = NanoBackbone(config)
        self.head = NanoHead(config, len(COCO_NAMES))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], config: NanoConfig) -> Self:
        """Build the network, frozen and in float32, from the tensors of a weight file."""
        network = cls(config)
        network.load_state_dict({key: tensors[key].float() for key in network.state_dict()})
        return network.eval().requires_grad_(False)


def join_levels(necks: Sequence[Tensor], reduced: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Put each level's neck and reduced map, (B, C, H_l, W_l), into one map, channels of the neck first."""
    return tuple(torch.cat(pair, 1) for pair in zip(necks, reduced, strict=True))


def split_levels(levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the necks and the reduced maps of joined levels."""
    necks = [level[:, : NanoConfig.neck_channels] for level in levels]
    return necks, [level[:, NanoConfig.neck_channels :] for level in levels]
