"""Deformable convolution against the definition, written out tap by tap."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from groundstream.models.glip.deform import Offsets, deform_conv3x3


def by_definition(x: Tensor, offsets: Offsets, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """One output, one tap, one corner at a time."""
    batch, _, height, width = x.shape
    out = bias[:, None, None].expand(batch, -1, *offsets.shift.shape[2:]).clone()
    for b, i, j, tap in torch.cartesian_prod(
        *(torch.arange(n) for n in (batch, *offsets.shift.shape[2:], 9))
    ).tolist():
        y = i * stride - 1 + tap // 3 + float(offsets.shift[b, 2 * tap, i, j])
        x_ = j * stride - 1 + tap % 3 + float(offsets.shift[b, 2 * tap + 1, i, j])
        value = torch.zeros(x.shape[1])
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x_), math.floor(x_) + 1):
                if 0 <= row < height and 0 <= column < width:
                    share = (1 - abs(y - row)) * (1 - abs(x_ - column))
                    value += share * x[b, :, row, column]
        kernel = weight[:, :, tap // 3, tap % 3]
        out[b, :, i, j] += kernel @ value * float(offsets.mask[b, tap, i, j])
    return out


def some(height: int, width: int, stride: int, spread: float = 2.0) -> tuple[Tensor, Offsets, Tensor, Tensor]:
    torch.manual_seed(height * 100 + width)
    size = (2, 18, -(-height // stride), -(-width // stride))
    offsets = Offsets(torch.randn(size) * spread, torch.rand(2, 9, *size[2:]))
    return torch.randn(2, 3, height, width), offsets, torch.randn(4, 3, 3, 3), torch.randn(4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (5, 4)])
def test_equals_the_definition(height: int, width: int, stride: int) -> None:
    x, offsets, weight, bias = some(height, width, stride)
    expected = by_definition(x, offsets, weight, bias, stride)
    torch.testing.assert_close(
        deform_conv3x3(x, offsets, weight, bias, stride), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_without_offsets_it_is_a_convolution(stride: int) -> None:
    x, offsets, weight, bias = some(6, 7, stride)
    still = Offsets(torch.zeros_like(offsets.shift), torch.ones_like(offsets.mask))
    expected = F.conv2d(x, weight, bias, stride=stride, padding=1)
    torch.testing.assert_close(deform_conv3x3(x, still, weight, bias, stride), expected, rtol=1e-4, atol=1e-4)


def test_far_outside_is_zero_and_not_a_number_reads_nothing_foreign() -> None:
    x, offsets, weight, bias = some(4, 4, 1)
    far = Offsets(torch.full_like(offsets.shift, 1e6), offsets.mask)
    expected = bias[:, None, None].expand(2, -1, 4, 4)
    torch.testing.assert_close(deform_conv3x3(x, far, weight, bias), expected)
    broken = Offsets(offsets.shift.clone(), offsets.mask)
    broken.shift[0] = torch.nan
    kept = deform_conv3x3(x, offsets, weight, bias)[1]
    torch.testing.assert_close(deform_conv3x3(x, broken, weight, bias)[1], kept)


def test_reread_takes_the_first_numbers_of_each_picture() -> None:
    raw = torch.arange(2 * 27 * 4 * 6, dtype=torch.float32).view(2, 27, 4, 6)
    raw = raw.to(memory_format=torch.channels_last)  # the numbers count, not where they lie in memory
    small = Offsets.of(raw).reread(2, 3)
    for picture in range(2):
        flat = raw[picture, :18].flatten()[: 18 * 6]
        assert torch.equal(small.shift[picture], flat.view(18, 2, 3))
        flat = raw[picture, 18:].sigmoid().flatten()[: 9 * 6]
        assert torch.equal(small.mask[picture], flat.view(9, 2, 3))


def test_gradients_equal_those_of_the_definition() -> None:
    x, offsets, weight, bias = some(3, 4, 1)
    results = []
    for function in (deform_conv3x3, by_definition_with_gradients):
        inputs = [t.clone().requires_grad_() for t in (x, offsets.shift, offsets.mask, weight)]
        out = function(inputs[0], Offsets(inputs[1], inputs[2]), inputs[3], bias, 1)
        results.append(torch.autograd.grad(out.square().sum(), inputs))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)


def by_definition_with_gradients(x: Tensor, offsets: Offsets, weight: Tensor, bias: Tensor, _: int) -> Tensor:
    """The same with one `grid_sample` per tap, which knows its derivatives."""
    height, width = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    out = bias.view(1, -1, 1, 1)
    for tap in range(9):
        y = rows - 1 + tap // 3 + offsets.shift[:, 2 * tap]
        x_ = columns - 1 + tap % 3 + offsets.shift[:, 2 * tap + 1]
        grid = torch.stack(((2 * x_ + 1) / width - 1, (2 * y + 1) / height - 1), -1)
        seen = F.grid_sample(x, grid, align_corners=False) * offsets.mask[:, tap, None]
        out = out + torch.einsum("oc,bchw->bohw", weight[:, :, tap // 3, tap % 3], seen)
    return out


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(dtype: torch.dtype) -> None:
    x, offsets, weight, bias = some(5, 4, 1)
    exact = deform_conv3x3(x, offsets, weight, bias)
    half = deform_conv3x3(x.to(dtype), offsets, weight.to(dtype), bias.to(dtype))
    assert half.dtype == dtype
    assert float((half.float() - exact).abs().max()) < 0.02 * float(exact.abs().max())


def test_offsets_of_another_size_are_refused() -> None:
    x, offsets, weight, bias = some(4, 4, 1)
    with pytest.raises(ValueError, match=r"expected offsets \(2, 18, 2, 2\), but got \(2, 18, 4, 4\)"):
        deform_conv3x3(x, offsets, weight, bias, stride=2)
