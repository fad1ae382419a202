"""Modulated deformable convolution (DCNv2, arXiv 1811.11168) in plain PyTorch.

Every output position reads nine taps, every tap is a weighted sum of four neighbouring pixels. That is
what `embedding_bag` does: four rows of a table, weighted and summed, in one pass and without the 36-fold
copy that indexing would make. Then one matrix product. With channels last, a pixel is a row.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = 9


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
        shift = self.shift.flatten(1)[:, : 2 * TAPS * count].unflatten(1, (2 * TAPS, height, width))
        mask = self.mask.flatten(1)[:, : TAPS * count].unflatten(1, (TAPS, height, width))
        return Offsets(shift, mask)


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
    rows = x.permute(0, 2, 3, 1).reshape(-1, channels)  # (B * H * W, C)
    index, share = bilinear_corners(offsets, (height, width), stride)
    taps = F.embedding_bag(index, rows, mode="sum", per_sample_weights=share.to(x.dtype))
    columns = taps.view(batch, out_h, out_w, TAPS * channels)
    flat = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)  # a view when channels are last in memory
    return F.linear(columns, flat, bias).permute(0, 3, 1, 2)


def bilinear_corners(offsets: Offsets, size: tuple[int, int], stride: int) -> tuple[Tensor, Tensor]:
    """Return (B * h * w * 9, 4) int32 row numbers of the four pixels around each tap, and their shares.

    Pixels outside the picture have a share of zero.
    """
    (height, width), (batch, _, out_h, out_w) = size, offsets.shift.shape
    device = offsets.shift.device
    dy, dx = offsets.shift.unflatten(1, (TAPS, 2)).permute(2, 0, 3, 4, 1)  # each (B, h, w, 9)
    tap = torch.arange(TAPS, device=device)
    y = dy + (torch.arange(out_h, device=device).view(-1, 1, 1) * stride - 1 + tap // 3)
    x = dx + (torch.arange(out_w, device=device).view(-1, 1) * stride - 1 + tap % 3)
    rows, row_shares = _neighbours(y, height)
    columns, column_shares = _neighbours(x, width)
    first = torch.arange(batch, device=device, dtype=torch.int32).view(-1, 1, 1, 1, 1) * (height * width)
    index = (rows * width + first)[..., :, None] + columns[..., None, :]  # (B, h, w, 9, 2, 2)
    share = row_shares[..., :, None] * (column_shares * offsets.mask.permute(0, 2, 3, 1)[..., None])[..., None, :]
    return index.view(-1, 4), share.view(-1, 4)


def _neighbours(position: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return (..., 2) the pixels before and after each position on one axis, and their shares."""
    before = position.floor()
    pair = torch.stack((before, before + 1), -1)
    share = 1 - (position[..., None] - pair).abs()
    share = torch.where((pair >= 0) & (pair < count), share, 0.0)
    return pair.clamp(0, count - 1).to(torch.int32), share
