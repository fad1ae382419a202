"""Cells, counted through all levels, and what the weights of its own level make of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class Cells(NamedTuple):
    """K cells of one picture.

    `numbers` (K,) int64, counted through all levels; `levels` (K,) int64; `centres` (K, 2) x and y, and
    `strides` (K, 1), in pixels of the canvas; `features` (K, 128) float32 frozen region features.
    """

    numbers: Tensor
    levels: Tensor
    centres: Tensor
    strides: Tensor
    features: Tensor

    def boxes(self, distances: Tensor) -> Tensor:
        """Return (K, 4) xyxy boxes in canvas pixels whose sides are (K, 4) `distances` strides away."""
        reach = distances * self.strides
        return torch.cat((self.centres - reach[:, :2], self.centres + reach[:, 2:]), 1)

    def apply(self, layers: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        """Return (K, n): what the layer of its level, one of three, makes of each cell.

        Every layer runs on all of these few cells, which is cheaper than sorting them by level.
        """
        answer = layers[0](self.features)
        for level, layer in enumerate(layers[1:], start=1):
            answer = torch.where((self.levels == level)[:, None], layer(self.features), answer)
        return answer


def pick_cells(
    regions: Sequence[Tensor], widths: Sequence[int], strides_px: Sequence[int], numbers: Tensor
) -> Cells:
    """Return some cells of one picture.

    Args:
        regions: per level (N_l, 128) float32 frozen region features.
        widths: per level cells per row.
        strides_px: per level pixels per cell.
        numbers: (K,) int64 which cells, counted through all levels.
    """
    counts = tuple(len(region) for region in regions)
    levels, centres, strides = (
        part[numbers] for part in _grid(counts, tuple(widths), tuple(strides_px), numbers.device)
    )
    features, start = regions[0][numbers.clamp(max=counts[0] - 1)], 0
    for level in range(1, len(regions)):
        start += counts[level - 1]
        here = regions[level][(numbers - start).clamp(0, counts[level] - 1)]
        features = torch.where((numbers >= start)[:, None], here, features)
    return Cells(numbers, levels, centres, strides, features)


@lru_cache(maxsize=32)
def _grid(
    counts: tuple[int, ...], widths: tuple[int, ...], strides_px: tuple[int, ...], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the levels (N,), centres (N, 2) and strides (N, 1) of all cells."""
    levels, centres, strides = [], [], []
    with torch.inference_mode(False):  # these are constants, for training as well
        for level, (count, width, stride) in enumerate(zip(counts, widths, strides_px, strict=True)):
            cells = torch.arange(count, device=device)
            levels.append(torch.full_like(cells, level))
            centres.append((torch.stack((cells % width, cells // width), 1) + 0.5) * stride)
            strides.append(torch.full_like(cells, stride)[:, None].float())
        return torch.cat(levels), torch.cat(centres), torch.cat(strides)
