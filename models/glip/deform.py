"""Modulated deformable convolution (DCNv2, arXiv 1811.11168) in plain PyTorch.

Every output position reads nine taps, every tap is a weighted sum of four neighbouring pixels. That is
what `embedding_bag` does: four rows of a table, weighted and summed, in one pass and without the 36-fold
copy that indexing would make. Then one matrix product. With channels last, a pixel is a row.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = 9
#: Width of the border of zeros in front of and behind each axis: taps may start at -1 and end at size + 1.
BEFORE, AFTER = 1, 2


class Offsets(NamedTuple):
    """Where a 3x3 deformable convolution looks, and how much each look counts.

    `shift` is (B, 18, h, w): per tap, row-major, dy then dx in pixels of the input; `mask` is
    (B, 9, h, w) in 0..1. Both float32, whatever the features are: half precision cannot say where a
    pixel is.
    """

    shift: Tensor
    mask: Tensor

    @classmethod
    def of(cls, raw: Tensor) -> Offsets:
        """Split (B, 27, h, w), the output of the offset convolution."""
        raw = raw.float()
        return cls(raw[:, : 2 * TAPS], raw[:, 2 * TAPS :].sigmoid())

    def reread(self, height: int, width: int) -> Offsets:
        """Return the first numbers of each picture's buffer, seen as a smaller map.

        The original hands the offsets of a fine level to the convolution of a coarse one, and its CUDA
        kernel indexes memory without a look at the shape. The published weights were trained so
        (microsoft/GLIP issues 52 and 62), and without it no number agrees.
        """
        count = height * width
        shift = self.shift.flatten(1)[:, : 2 * TAPS * count].reshape(-1, 2 * TAPS, height, width)
        mask = self.mask.flatten(1)[:, : TAPS * count].reshape(-1, TAPS, height, width)
        return Offsets(shift, mask)


class DeformConv(nn.Module):
    """A modulated deformable convolution, 3x3 with padding 1, whose offsets come from its caller."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.stride = stride
        nn.init.kaiming_uniform_(self.weight)

    def forward(self, x: Tensor, offsets: Offsets) -> Tensor:
        """Convolve (B, C, H, W) where `offsets` say; see `deform_conv3x3`."""
        return deform_conv3x3(x, offsets, self.weight, self.bias, self.stride)


def deform_conv3x3(x: Tensor, offsets: Offsets, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
    """Convolve 3x3, padding 1, with taps moved by `offsets` and weighted by their mask.

    Args:
        x: (B, C, H, W) features.
        offsets: for the output's size, ceil(H / stride) x ceil(W / stride).
        weight: (O, C, 3, 3).
        bias: (O,).
        stride: 1 or 2.

    Returns:
        (B, O, ceil(H / stride), ceil(W / stride)), channels last in memory.

    Raises:
        ValueError: the offsets are of another size.
    """
    batch, channels, height, width = x.shape
    out_h, out_w = -(-height // stride), -(-width // stride)
    if offsets.shift.shape != (batch, 2 * TAPS, out_h, out_w):
        expected = (batch, 2 * TAPS, out_h, out_w)
        raise ValueError(f"expected offsets {expected}, but got {tuple(offsets.shift.shape)}")
    # A border of zeros stands for all that lies outside, so no tap needs to be asked where it fell.
    bordered = F.pad(x.permute(0, 2, 3, 1), (0, 0, BEFORE, AFTER, BEFORE, AFTER))
    index, share = bilinear_corners(offsets, (height, width), stride)
    taps = F.embedding_bag(
        index, bordered.view(-1, channels), mode="sum", per_sample_weights=share.to(x.dtype)
    )
    columns = taps.view(batch, out_h, out_w, TAPS * channels)
    flat = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)  # a view when channels are last in memory
    return F.linear(columns, flat, bias).permute(0, 3, 1, 2)


def bilinear_corners(offsets: Offsets, size: tuple[int, int], stride: int) -> tuple[Tensor, Tensor]:
    """Return (B * h * w * 9, 4) int32 row numbers of the four pixels around each tap, and their shares.

    Rows are pixels of the pictures with their border, `BEFORE` and `AFTER` pixels wide; `size` is
    without it. Shares are float32 and contain the mask.
    """
    (height, width), (batch, _, out_h, out_w) = size, offsets.shift.shape
    device = offsets.shift.device
    row_px, picture_px = width + BEFORE + AFTER, (height + BEFORE + AFTER) * (width + BEFORE + AFTER)
    tap = torch.arange(TAPS, device=device)
    y = torch.arange(out_h, device=device).view(-1, 1, 1) * stride + (tap // 3 - 1)
    x = torch.arange(out_w, device=device).view(-1, 1) * stride + (tap % 3 - 1)
    shift = offsets.shift.reshape(batch, TAPS, 2, out_h, out_w).permute(2, 0, 3, 4, 1)
    dy, dx = shift.contiguous()  # each (B, h, w, 9)
    y, x = (dy + y).clamp_(-1, height), (dx + x).clamp_(-1, width)
    top, left = y.floor(), x.floor()
    first = torch.arange(batch, device=device, dtype=torch.int32).view(-1, 1, 1, 1) * picture_px
    corner = (top * row_px + left).to(torch.int32) + (BEFORE * row_px + BEFORE)
    # An offset that is not a number must not become a read outside the table.
    corner = corner.clamp_(0, picture_px - row_px - 2) + first
    steps = torch.tensor([0, 1, row_px, row_px + 1], dtype=torch.int32, device=device)
    index = corner[..., None] + steps
    return index.view(-1, 4), _shares(y - top, x - left, offsets.mask.permute(0, 2, 3, 1).contiguous()).view(
        -1, 4
    )


def _shares(down: Tensor, right: Tensor, mask: Tensor) -> Tensor:
    """Return (..., 4) what upper left, upper right, lower left and lower right count."""
    lower = mask * down
    upper = mask - lower
    upper_right, lower_right = upper * right, lower * right
    return torch.stack((upper - upper_right, upper_right, lower - lower_right, lower_right), -1)
