"""The frozen convolutional backbone and its neck, in our own words.

The architecture is that of NanoDet-g (RangiLyu/nanodet): plain 3x3 convolutions in cross-stage partial
stages, 1x1 laterals, a path-aggregation neck made of bilinear resizes and additions. Batch norm is folded.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundstream.models.nano.config import NanoConfig
from groundstream.models.nano.packed import Conv

LEAK = 0.1


class ConvLeaky(Conv):
    """A 3x3 convolution with bias, followed by a leaky rectifier."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__(channels_in, channels_out, 3, stride, LEAK)


class Stage(nn.Module):
    """One cross-stage partial stage: the entry is kept and put beside what the inner blocks make of it."""

    def __init__(self, channels_in: int, channels: int, blocks: int, stride: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter = ConvLeaky(channels_in, channels, stride)
        self.first = nn.ModuleList(ConvLeaky(channels, half) for _ in range(blocks))
        self.second = nn.ModuleList(ConvLeaky(half, half) for _ in range(blocks))
        self.leave = ConvLeaky(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) to (B, 2 * channels, H / stride, W / stride)."""
        entry = x = self.enter(x)
        for first, second in zip(self.first, self.second, strict=True):
            a = first(x)
            x = torch.cat((second(a), a), 1)
        return torch.cat((self.leave(x), entry), 1)


class NanoBackbone(nn.Module):
    """From normalised RGB to the three levels of the neck."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.stem = ConvLeaky(3, config.stem_channels, 2)
        widths = [config.stem_channels, *(2 * channels for channels, _ in config.stages)]
        self.stages = nn.ModuleList(
            Stage(width, channels, blocks, 1 if number == 0 else 2)
            for number, (width, (channels, blocks)) in enumerate(zip(widths, config.stages, strict=False))
        )
        self.laterals = nn.ModuleList(Conv(width, config.neck_channels) for width in widths[-3:])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map (B, 3, H, W), H and W multiples of 32, to (B, 128, H / s, W / s) for s = 8, 16, 32."""
        return self.neck(self.stage_maps(x))

    def stage_maps(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to what the stages put out: 64, 128, 256, 512 channels at strides 4, 8, 16, 32."""
        x = _pool(self.stem(x))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def neck(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Join the last three stage maps to the three levels of 128 channels."""
        low, mid, high = (lateral(x) for lateral, x in zip(self.laterals, maps[-3:], strict=True))
        mid = mid + _grow(high)
        low = low + _grow(mid)
        mid = mid + _shrink(low)
        return low, mid, high + _shrink(mid)


def _pool(x: Tensor) -> Tensor:
    """Return `F.max_pool2d(x, 3, 2, 1)` of (B, C, H, W), H and W even.

    On a CPU torch looks for the places of the maxima as well, and writes them down; rows first, then columns,
    by plain maxima takes two thirds of that time.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return F.max_pool2d(x, 3, 2, 1)
    rows = torch.maximum(x[:, :, 0::2], x[:, :, 1::2])
    torch.maximum(rows[:, :, 1:], x[:, :, 1:-1:2], out=rows[:, :, 1:])
    best = torch.maximum(rows[..., 0::2], rows[..., 1::2])
    torch.maximum(best[..., 1:], rows[..., 1:-1:2], out=best[..., 1:])
    return best


def _grow(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _shrink(x: Tensor) -> Tensor:
    # Bilinear sampling at half the size falls on the middle of four pixels: their mean.
    return F.avg_pool2d(x, 2)
