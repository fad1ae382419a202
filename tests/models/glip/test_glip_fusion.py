"""Bi-directional attention against the paper's formulas, with nothing folded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from groundstream.models.glip.fusion import BiAttention, Fusion


def by_formula(m: BiAttention, visual: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (m.heads, -1)).transpose(1, 2)

    q, k = heads(m.v_proj(visual)) * m.scale, heads(m.l_proj(text))
    scores = (q @ k.transpose(2, 3)).clamp(-50000, 50000)  # (B, heads, N, T)
    to_image = scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(3)
    to_text = scores.transpose(2, 3).softmax(3)
    image = (to_image @ heads(m.values_l_proj(text))).transpose(1, 2).flatten(2)
    words = (to_text @ heads(m.values_v_proj(visual))).transpose(1, 2).flatten(2)
    return m.out_v_proj(image), m.out_l_proj(words)


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    mask = torch.arange(5) < torch.tensor([[5], [3]])
    return torch.randn(2, 40, 16), torch.randn(2, 5, 12), mask


def test_equals_the_formula(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    attention = BiAttention(16, 12, 32, 4)
    for ours, expected in zip(attention(*inputs), by_formula(attention, *inputs), strict=True):
        torch.testing.assert_close(ours, expected)


def test_gradients_equal_those_of_the_formula(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    attention = BiAttention(16, 12, 32, 4)
    gradients = []
    for function in (attention.forward, lambda *args: by_formula(attention, *args)):
        image, words = function(*inputs)
        loss = image.square().sum() + words[inputs[2]].square().sum()
        gradients.append(torch.autograd.grad(loss, tuple(attention.parameters())))
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


def test_a_picture_alone_is_the_picture_in_a_batch(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    visual, text, mask = inputs
    attention = BiAttention(16, 12, 32, 4)
    image, words = attention(visual, text, mask)
    alone_image, alone_words = attention(visual[1:], text[1:, :3], mask[1:, :3])
    torch.testing.assert_close(image[1:], alone_image)
    torch.testing.assert_close(words[1:, :3], alone_words)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_beyond_half_precision_stay_finite(
    inputs: tuple[Tensor, Tensor, Tensor], dtype: torch.dtype
) -> None:
    visual, text, mask = inputs
    attention = BiAttention(16, 12, 32, 4).to(dtype)
    image, words = attention((visual * 500).to(dtype), (text * 500).to(dtype), mask)
    assert image.isfinite().all()
    assert words.isfinite().all()


def test_the_residual_is_the_normalised_input() -> None:
    torch.manual_seed(0)
    fusion = Fusion(16, 12, 32, 4)
    torch.nn.init.zeros_(fusion.gamma_v)
    torch.nn.init.zeros_(fusion.gamma_l)
    levels, text = (torch.randn(1, 16, 3, 4), torch.randn(1, 16, 2, 2)), torch.randn(1, 5, 12)
    fused, words = fusion(levels, text, torch.ones(1, 5, dtype=torch.bool))
    for before, after in zip(levels, fused, strict=True):
        expected = torch.nn.functional.layer_norm(before.permute(0, 2, 3, 1), (16,)).permute(0, 3, 1, 2)
        torch.testing.assert_close(after, expected)
    torch.testing.assert_close(words, torch.nn.functional.layer_norm(text, (12,)))
