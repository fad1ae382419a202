"""The image side, before any text has touched it: Swin and a feature pyramid."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SwinBackbone, SwinConfig

from groundstream.models.glip.config import GlipConfig


class FeaturePyramid(nn.Module):
    """Five maps of equal width from the three coarser Swin stages.

    P3..P5 come top-down from the stages; P6 is a strided convolution of P5, P7 one of the rectified P6.
    Source: `modeling/backbone/fpn.py` of microsoft/GLIP.
    """

    def __init__(self, stage_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in stage_channels)
        self.output = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in stage_channels)
        self.p6 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, stages: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Turn three (B, C_s, H_s, W_s) stages, finest first, into P3..P7, each (B, channels, H_l, W_l)."""
        merged = self.lateral[-1](stages[-1])
        levels = [self.output[-1](merged)]
        for number in range(len(stages) - 2, -1, -1):
            lateral = self.lateral[number](stages[number])
            merged = lateral + F.interpolate(merged, size=lateral.shape[-2:], mode="nearest")
            levels.insert(0, self.output[number](merged))
        p6 = self.p6(levels[-1])
        return (*levels, p6, self.p7(F.relu(p6)))


class VisionEncoder(nn.Module):
    """Swin with a feature pyramid: normalised BGR pictures in, P3..P7 out."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.swin = build_swin(config)
        widths = tuple(config.swin_dim * 2**stage for stage in (1, 2, 3))
        self.fpn = FeaturePyramid(widths, config.channels)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Turn (B, 3, H, W) normalised BGR pictures into P3..P7, strides 8 to 128."""
        levels: tuple[Tensor, ...] = self.fpn(self.swin(images).feature_maps)
        return levels


def build_swin(config: GlipConfig) -> SwinBackbone:
    """Return the Swin of `config` with stages 2 to 4 normalised and handed out.

    It has to be `SwinBackbone`: `SwinModel` stops shifting its windows on maps no larger than one.
    """
    settings: dict[str, Any] = {
        "embed_dim": config.swin_dim,
        "depths": list(config.swin_depths),
        "num_heads": list(config.swin_heads),
        "window_size": config.swin_window,
        "out_features": ["stage2", "stage3", "stage4"],
        "drop_path_rate": 0.0,
        "attn_implementation": "sdpa",
    }
    backbone = SwinBackbone(SwinConfig(**settings))
    # Its result is never used, and GLIP's checkpoints have no such layer.
    backbone.swin.layernorm = nn.Identity()  # type: ignore[assignment]
    return backbone
