"""The parts of the detection transformers that are our own: deformable attention and fusion."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hf_tiny import build_model
from torch import Tensor
from transformers.models.grounding_dino.modeling_grounding_dino import (
    GroundingDinoMultiscaleDeformableAttention,
)

from groundstream.models.hf.deformable import DeformableAttention, gather_bags, gather_grids
from groundstream.models.hf.dino_encoder import fuse

SIZES = ((6, 8), (3, 4), (1, 2))
HEADS, POINTS, CHANNELS = 2, 3, 8


def sampling(batch: int, queries: int, spread: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return values, x, y and weights; points lie up to `spread` pixels around the level."""
    generator = torch.Generator().manual_seed(int(spread))
    count = HEADS * len(SIZES) * POINTS
    values = torch.randn(batch, sum(h * w for h, w in SIZES), CHANNELS, generator=generator)
    x, y = ((torch.rand(batch, queries, count, generator=generator) * 2 - 0.5) * spread for _ in "xy")
    return values, x, y, torch.rand(batch, queries, count, generator=generator)


def naive(values: Tensor, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Sum bilinear samples one by one; what lies outside a level is zero."""
    batch, queries, _ = x.shape
    out = torch.zeros(batch, queries, HEADS, CHANNELS // HEADS)
    pattern = (batch, queries, HEADS, len(SIZES), POINTS)
    x, y, weights = (t.view(pattern) for t in (x, y, weights))
    for index in torch.cartesian_prod(*map(torch.arange, pattern)).tolist():
        picture, _, head, level, _ = index
        height, width = SIZES[level]
        start = sum(h * w for h, w in SIZES[:level])
        part = values[picture, start : start + height * width].view(height, width, HEADS, -1)[:, :, head]
        px, py = x[tuple(index)].item(), y[tuple(index)].item()
        for line in (int(py // 1), int(py // 1) + 1):
            for column in (int(px // 1), int(px // 1) + 1):
                if 0 <= line < height and 0 <= column < width:
                    share = (1 - abs(py - line)) * (1 - abs(px - column))
                    out[picture, index[1], head] += weights[tuple(index)] * share * part[line, column]
    return out.flatten(2)


@pytest.mark.parametrize("gather", [gather_bags, gather_grids])
@pytest.mark.parametrize("spread", [1.0, 8.0, 1000.0])
def test_gathering_equals_the_definition(gather: Any, spread: float) -> None:
    values, x, y, weights = sampling(batch=2, queries=5, spread=spread)
    found = gather(values, x, y, weights, SIZES, HEADS, POINTS)
    torch.testing.assert_close(found, naive(values, x, y, weights), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("gather", [gather_bags, gather_grids])
def test_points_on_the_rim(gather: Any) -> None:
    values, x, _, weights = sampling(batch=1, queries=4, spread=8.0)
    for rim in (-1.0, 0.0, 7.0, 8.0):
        at = torch.full_like(x, rim)
        found = gather(values, at, at.clamp(max=5.0), weights, SIZES, HEADS, POINTS)
        torch.testing.assert_close(found, naive(values, at, at.clamp(max=5.0), weights), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("coordinates", [2, 4])
def test_attention_equals_transformers(coordinates: int) -> None:
    config = build_model("grounding-dino").config
    module = GroundingDinoMultiscaleDeformableAttention(config, num_heads=4, n_points=3).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    sizes = ((6, 8), (3, 4), (2, 2), (1, 1))
    count = sum(h * w for h, w in sizes)
    queries, values = torch.randn(2, 5, 32), torch.randn(2, count, 32)
    real = torch.rand(2, count) > 0.3
    points = torch.rand(2, 5, 4, coordinates)
    ours = DeformableAttention(module)
    with torch.no_grad():
        expected, _ = module(
            queries,
            attention_mask=real,
            encoder_hidden_states=values,
            reference_points=points,
            spatial_shapes=torch.tensor(sizes),
            spatial_shapes_list=list(sizes),
        )
        if coordinates == 4:
            x, y = ours.points_in(queries, points, sizes)
        else:
            extent = torch.tensor([(w, h) for h, w in sizes])
            own = (points * extent - 0.5)[:, :, None, :, None].expand(2, 5, 4, 4, 3, 2)
            x, y = (offset + own[..., axis].flatten(2) for axis, offset in enumerate(ours.offsets(queries)))
        found = ours.attend(queries, values, x, y, sizes, real)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def fusion(scale: float) -> tuple[Any, Tensor, Tensor, Tensor]:
    layer = build_model("grounding-dino").model.encoder.layers[0].fusion_layer
    layer.attn.text_proj.weight.data *= scale
    generator = torch.Generator().manual_seed(1)
    vision = torch.randn(2, 12, 32, generator=generator)
    text = torch.randn(2, 5, 32, generator=generator)
    return layer, vision, text, torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


@pytest.mark.parametrize("padded", [False, True])
def test_fusion_equals_transformers(padded: bool) -> None:
    layer, vision, text, words = fusion(1.0)
    pixels = torch.arange(12) < torch.tensor([[12], [7]]) if padded else torch.ones(2, 12, dtype=torch.bool)
    with torch.no_grad():
        (seen, _), (read, _) = layer(vision, text, ~pixels, ~words)
        found = fuse(layer, vision, text, pixels if padded else None, words)
    torch.testing.assert_close(found[0], seen, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1], read, atol=1e-5, rtol=1e-5)


def test_a_loud_neighbour_does_not_shift_a_quiet_stream() -> None:
    """Transformers subtracts the maximum over the batch: the other picture's clamped scores become equal."""
    layer, vision, text, words = fusion(1.0)
    text[1] = text[0]
    loud = vision.clone()
    layer.layer_norm_vision = torch.nn.Identity()
    loud[1] *= 1e6
    words[:] = True
    pixels = torch.ones(1, 12, dtype=torch.bool)
    with torch.no_grad():
        alone = fuse(layer, loud[:1], text[:1], None, words[:1])
        beside = fuse(layer, loud, text, None, words)
        theirs = layer(loud, text, ~pixels.expand(2, -1), ~words)[0][0][:1]
    torch.testing.assert_close(beside[0][:1], alone[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(beside[1][:1], alone[1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(theirs, alone[0], atol=1e-2)
