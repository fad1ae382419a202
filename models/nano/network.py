"""Backbone and head together: what the weight file holds beside the text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from groundstream.models.nano.backbone import NanoBackbone
from groundstream.models.nano.config import COCO_NAMES, NanoConfig
from groundstream.models.nano.head import NanoHead


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

    def closed_set(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return, per level, (B, N_l, 80) scores of the COCO names and (B, N_l, 44) distance logits.

        This is what the network was trained to say; the distillation of the text encoder and the parity
        with the original graph are held against it. `x` is (B, 3, H, W) normalised RGB.
        """
        features = self.head.region_features(self.backbone(x))
        return [
            ((region @ rows.T + bias).sigmoid(), distance(region))
            for region, rows, bias, distance in zip(
                features, self.head.names, self.head.names_bias, self.head.distances, strict=True
            )
        ]


def join_levels(necks: Sequence[Tensor], reduced: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Put each level's neck and reduced map, (B, C, H_l, W_l), into one map, channels of the neck first."""
    return tuple(torch.cat(pair, 1) for pair in zip(necks, reduced, strict=True))


def split_levels(levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the necks and the reduced maps of joined levels."""
    necks = [level[:, : NanoConfig.neck_channels] for level in levels]
    return necks, [level[:, NanoConfig.neck_channels :] for level in levels]
