"""Maps read as tables of cells against `grid_sample`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from groundstream.models.nano.sampling import sample_boxes, sample_maps

CANVAS = (64, 96)


def expected(level: Tensor, boxes: Tensor, points: int) -> Tensor:
    middle = (torch.arange(points) + 0.5) / points
    places = boxes[:, None, :2] + (boxes[:, 2:] - boxes[:, :2])[:, None] * middle[:, None]
    places = places / torch.tensor([96, 64]) * 2 - 1
    x, y = places[:, None, :, 0].expand(-1, points, -1), places[:, :, None, 1].expand(-1, -1, points)
    grid = torch.stack((x, y), -1).reshape(1, len(boxes), points * points, 2)
    read = F.grid_sample(level.float(), grid, padding_mode="border", align_corners=False)
    return read[0].permute(1, 2, 0).flatten(1)


def maps(dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    sizes = ((5, 16, 24), (7, 8, 12), (9, 2, 3))
    made = [torch.randn(1, *size).to(dtype) for size in sizes]
    return [made[0], made[1].to(memory_format=torch.channels_last), made[2]]


BOXES = torch.tensor([[8.0, 4, 24, 20], [0, 0, 96, 64], [90, 60, 120, 80], [-9, -5, 3, 2], [7, 7, 7, 7]])


@pytest.mark.parametrize(("dtype", "noise"), [(torch.float32, 1e-5), (torch.bfloat16, 0.06)], ids=str)
def test_reads_as_grid_sample_does(dtype: torch.dtype, noise: float) -> None:
    levels, grid = maps(dtype), (3, 2, 1)
    read = sample_maps(levels, BOXES, grid, CANVAS)
    assert read.dtype == dtype
    sides = [expected(level, BOXES, points) for level, points in zip(levels, grid, strict=True)]
    torch.testing.assert_close(read.float(), torch.cat(sides, 1), atol=noise, rtol=0)


def test_no_boxes_give_no_rows() -> None:
    assert sample_maps(maps(torch.float32), BOXES[:0], (3, 2, 1), CANVAS).shape == (0, 5 * 9 + 7 * 4 + 9)


def test_gradients_reach_the_map_after_inference() -> None:
    level = maps(torch.float32)[0]
    with torch.inference_mode():
        sample_boxes(level, BOXES, 4, CANVAS)
    level.requires_grad_()
    sample_boxes(level, BOXES, 4, CANVAS).sum().backward()
    assert level.grad is not None
    assert float(level.grad.sum()) == pytest.approx(len(BOXES) * 16 * 5, rel=1e-4)
