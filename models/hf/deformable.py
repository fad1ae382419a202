"""Multi-scale deformable attention without compiled extensions.

Zhu et al., "Deformable DETR" (2020), section 4.1. On CPUs the bilinear sum over levels and points is one
`embedding_bag`: the bag of a query and head holds the four neighbours of every sampling point, weighted by
attention times bilinear weight. Sampling is in float32 whatever the model's number format is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

#: height and width of every level of a pyramid, finest first.
Sizes = tuple[tuple[int, int], ...]


class DeformableAttention:
    """The weights of transformers' module, its offsets sorted into all x, then all y.

    Args:
        module: a `*MultiscaleDeformableAttention` of transformers, already on its device.
    """

    def __init__(self, module: Any) -> None:
        self.heads, self.levels, self.points = module.n_heads, module.n_levels, module.n_points
        self.value_proj, self.output_proj = module.value_proj, module.output_proj
        self.attention_weights = module.attention_weights
        order = torch.arange(len(module.sampling_offsets.bias)).view(-1, 2).T.flatten()
        self.offset_weight = module.sampling_offsets.weight[order].contiguous()
        self.offset_bias = module.sampling_offsets.bias[order].contiguous()

    def offsets(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and y offsets of every sampling point, each (B, Q, heads * levels * points) float32."""
        x, y = F.linear(queries, self.offset_weight, self.offset_bias).float().chunk(2, -1)
        return x, y

    def points_in(self, queries: Tensor, boxes: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
        """Return the sampling points of queries that have boxes: offsets are shares of half a box.

        Args:
            queries: (B, Q, C).
            boxes: (B, Q, L or 1, 4) float32 centre and size, 0..1 of each level.
            sizes: of the levels.

        Returns:
            x and y, each (B, Q, heads * levels * points) float32 in pixels of each point's level.
        """
        pixels = []
        for axis, offsets in enumerate(self.offsets(queries)):
            extent = boxes.new_tensor([(width, height)[axis] for height, width in sizes])
            centre, half = boxes[..., axis] * extent, boxes[..., axis + 2] * extent / (2 * self.points)
            spread = (
                offsets.view(*offsets.shape[:2], self.heads, self.levels, self.points)
                * half[:, :, None, :, None]
            )
            pixels.append((spread + (centre - 0.5)[:, :, None, :, None]).flatten(2))
        return pixels[0], pixels[1]

    def attend(
        self, queries: Tensor, values: Tensor, x: Tensor, y: Tensor, sizes: Sizes, real: Tensor | None
    ) -> Tensor:
        """Gather `values` at the sampling points.

        Args:
            queries: (B, Q, C).
            values: (B, N, C) all levels, flattened and joined.
            x, y: (B, Q, heads * levels * points) float32 in pixels of each point's level, pixel centres at
                whole numbers.
            sizes: of the levels.
            real: (B, N) bool, False where padding must give zero; None where there is none.

        Returns:
            (B, Q, C) in the number format of `queries`.
        """
        projected = self.value_proj(values).float()
        if real is not None:
            projected = projected * real[..., None]
        logits: Tensor = self.attention_weights(queries).float()
        weights = logits.view(*x.shape[:2], self.heads, -1).softmax(-1).flatten(2)
        gather = gather_bags if projected.device.type == "cpu" else gather_grids
        gathered = gather(projected, x, y, weights, sizes, self.heads, self.points)
        output: Tensor = self.output_proj(gathered.to(queries.dtype))
        return output


class _Grid(NamedTuple):
    """Per (head, level, point): where its level lies in a table whose levels have a border of zeros."""

    highest_x: Tensor  # float32
    highest_y: Tensor  # float32
    row_step: Tensor  # int32, table rows from one line of pixels to the next
    start: Tensor  # int32, table row of the level's first border pixel for this head
    rows: int  # table rows per picture and head


@lru_cache(maxsize=32)
def _grid(sizes: Sizes, heads: int, points: int) -> _Grid:
    height, width = torch.tensor(sizes, dtype=torch.float32).T.view(2, 1, -1, 1)
    areas = [(h + 2) * (w + 2) for h, w in sizes]
    starts = torch.tensor([0, *areas[:-1]]).cumsum(0).view(1, -1, 1)
    head = torch.arange(heads).view(-1, 1, 1)
    pattern = (heads, len(sizes), points)
    return _Grid(
        highest_x=(width + 1).expand(pattern).flatten(),
        highest_y=(height + 1).expand(pattern).flatten(),
        row_step=((width + 2) * heads).int().expand(pattern).flatten(),
        start=(starts * heads + head).int().expand(pattern).flatten(),
        # a point on the last border pixel has neighbours of weight zero beyond it
        rows=sum(areas) + sizes[-1][1] + 4,
    )


def gather_bags(
    values: Tensor, x: Tensor, y: Tensor, weights: Tensor, sizes: Sizes, heads: int, points: int
) -> Tensor:
    """Sum `values` at the sampling points, times `weights`, with `embedding_bag`.

    Args:
        values: (B, N, C) float32.
        x, y: (B, Q, heads * levels * points) float32 in pixels of each point's level.
        weights: (B, Q, heads * levels * points) float32.
        sizes, heads, points: of the attention.

    Returns:
        (B, Q, C) float32; beyond the border values are zero.
    """
    batch, queries, _ = x.shape
    grid = _grid(sizes, heads, points)
    table = _bordered(values, sizes, grid.rows).view(batch * grid.rows * heads, -1)
    first = torch.arange(batch, dtype=torch.int32).mul_(grid.rows * heads).view(batch, 1, 1)
    rows, shares = _corners(x, y, weights, grid, first, heads)
    return F.embedding_bag(rows, table, per_sample_weights=shares, mode="sum").view(batch, queries, -1)


def _bordered(values: Tensor, sizes: Sizes, rows: int) -> Tensor:
    """Return (B, rows, C) where every level of `values` has a border of zeros."""
    batch, _, channels = values.shape
    table = values.new_zeros(batch, rows, channels)
    source = target = 0
    for height, width in sizes:
        area = (height + 2) * (width + 2)
        inside = table[:, target : target + area].view(batch, height + 2, width + 2, channels)[:, 1:-1, 1:-1]
        inside.copy_(values[:, source : source + height * width].view(batch, height, width, channels))
        source, target = source + height * width, target + area
    return table


def _corners(
    x: Tensor, y: Tensor, weights: Tensor, grid: _Grid, first: Tensor, heads: int
) -> tuple[Tensor, Tensor]:
    """Return table rows (int32) and shares (float32) of the neighbours, both (B * Q * heads, 4 * L * P)."""
    # one pixel of border: clamped there, whatever lies further out meets zeros only
    x = (x + 1).clamp_(min=0).minimum(grid.highest_x)
    y = (y + 1).clamp_(min=0).minimum(grid.highest_y)
    column, line = x.int(), y.int()
    right, below = x.sub_(column), y.sub_(line)
    corner = line.mul_(grid.row_step).add_(column, alpha=heads).add_(grid.start).add_(first)
    count = corner.shape[0] * corner.shape[1]
    corner, weights, right, below = (t.reshape(count, heads, -1) for t in (corner, weights, right, below))
    step = grid.row_step.view(heads, -1)
    rows = torch.stack((corner, corner + heads, corner + step, corner + (step + heads)), 2)
    lower = weights * below
    upper = weights - lower
    lower_right, upper_right = lower * right, upper * right
    shares = torch.stack((upper - upper_right, upper_right, lower - lower_right, lower_right), 2)
    return rows.view(count * heads, -1), shares.view(count * heads, -1)


def gather_grids(
    values: Tensor, x: Tensor, y: Tensor, weights: Tensor, sizes: Sizes, heads: int, points: int
) -> Tensor:
    """Do what `gather_bags` does with `grid_sample`, level by level: the way for GPUs."""
    batch, queries, _ = x.shape
    pattern = (batch, queries, heads, len(sizes), points)
    x, y, weights = (t.view(pattern).permute(3, 0, 2, 1, 4).flatten(1, 2) for t in (x, y, weights))
    total = values.new_zeros(())
    start = 0
    for level, (height, width) in enumerate(sizes):
        part = values[:, start : start + height * width].transpose(1, 2)
        image = part.reshape(batch * heads, -1, height, width)
        where = torch.stack(((x[level] + 0.5) * (2 / width) - 1, (y[level] + 0.5) * (2 / height) - 1), -1)
        found = F.grid_sample(image, where, align_corners=False)  # (B * heads, C / heads, Q, points)
        total = total + (found * weights[level][:, None]).sum(-1)
        start += height * width
    return total.view(batch, -1, queries).transpose(1, 2)
