"""Frozen maps read on regular grids of points inside boxes, all maps at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class _Spots(NamedTuple):
    """Where to read, for maps and grids of given sizes; R are the rows, or columns, of all grids together.

    `middles` (R, 1, 1) where they lie between the sides of a box, 0..1; `scale` (R, 1, 2) cells of the map
    per pixel of the canvas, `last` (R, 1, 2) the last cell, of x and y; `step` (R, 1) cells per row of the
    map; `columns` and `rows` (S,) int64: the two that cross in each of the S points.
    """

    middles: Tensor
    scale: Tensor
    last: Tensor
    step: Tensor
    columns: Tensor
    rows: Tensor


def sample_boxes(level: Tensor, boxes: Tensor, points: int, canvas_px: tuple[int, int]) -> Tensor:
    """Return (K, points^2 * C): a (1, C, H, W) map, read bilinearly on a regular grid inside each box.

    Args:
        level: the map; it covers the whole canvas.
        boxes: (K, 4) xyxy in canvas pixels.
        points: grid points per direction, at the middles of as many equal parts.
        canvas_px: height and width of the canvas.
    """
    return sample_maps([level], boxes, (points,), canvas_px)


def sample_maps(
    maps: Sequence[Tensor], boxes: Tensor, grid: tuple[int, ...], canvas_px: tuple[int, int]
) -> Tensor:
    """Return (K, sum of points^2 * C_l) in the maps' number format: `sample_boxes` of all, side by side.

    A point is the weighted sum of four rows of the map's table of cells, which is what `embedding_bag` adds
    up: with maps that lie channels last it takes a fraction of the time of `grid_sample`.

    Args:
        maps: (1, C_l, H_l, W_l) each.
        boxes: (K, 4) xyxy in canvas pixels.
        grid: points per direction, per map.
        canvas_px: height and width of the canvas.
    """
    sizes = tuple((level.shape[2], level.shape[3]) for level in maps)
    cells, shares = _corners(_spots(sizes, grid, canvas_px, boxes.device), boxes)
    described, start = [], 0
    for level, points in zip(maps, grid, strict=True):
        end, width = start + points**2, level.shape[1]
        table = level[0].permute(1, 2, 0).reshape(-1, width)
        where, share = cells[start:end].view(-1, 4), shares[start:end].view(-1, 4).to(table.dtype)
        read = F.embedding_bag(where, table, mode="sum", per_sample_weights=share)
        by_box = read.view(points**2, len(boxes), width).transpose(0, 1)
        described.append(by_box.reshape(len(boxes), points**2 * width))
        start = end
    return torch.cat(described, 1)


def _corners(spots: _Spots, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return (S, K, 4) int32 cells around each point of each box, and their shares, which sum to 1."""
    places = torch.addcmul(boxes[:, :2], boxes[:, 2:] - boxes[:, :2], spots.middles)  # (R, K, 2) x, y in px
    places = (places * spots.scale - 0.5).clamp_(min=0).minimum(spots.last)
    low = places.floor()
    high, part = (low + 1).minimum(spots.last), places - low
    (x0, y0), (x1, y1) = low.unbind(2), high.unbind(2)
    (right, lower), (left, upper) = part.unbind(2), (1 - part).unbind(2)
    y0, y1 = y0 * spots.step, y1 * spots.step
    columns = torch.stack((x0, x1, x0, x1), 2).index_select(0, spots.columns)  # (S, K, 4)
    rows = torch.stack((y0, y0, y1, y1), 2).index_select(0, spots.rows)
    across = torch.stack((left, right, left, right), 2).index_select(0, spots.columns)
    down = torch.stack((upper, upper, lower, lower), 2).index_select(0, spots.rows)
    return columns.add_(rows).int(), across.mul_(down)


@lru_cache(maxsize=32)
def _spots(
    sizes: tuple[tuple[int, int], ...],
    grid: tuple[int, ...],
    canvas_px: tuple[int, int],
    device: torch.device,
) -> _Spots:
    middles, scale, last, step, columns, rows = [], [], [], [], [], []
    count = 0
    for (height, width), points in zip(sizes, grid, strict=True):
        middles += [(point + 0.5) / points for point in range(points)]
        scale += [(width / canvas_px[1], height / canvas_px[0])] * points
        last += [(width - 1, height - 1)] * points
        step += [width] * points
        columns += [count + column for _ in range(points) for column in range(points)]
        rows += [count + row for row in range(points) for _ in range(points)]
        count += points
    with torch.inference_mode(False):  # these are constants, for training as well
        floats = [
            torch.tensor(part, device=device, dtype=torch.float32) for part in (middles, scale, last, step)
        ]
        return _Spots(
            floats[0][:, None, None],
            floats[1][:, None],
            floats[2][:, None],
            floats[3][:, None],
            torch.tensor(columns, device=device),
            torch.tensor(rows, device=device),
        )
