"""Attention between image and text in both directions, GLIP's early fusion.

The original computes queries and values of width 2048 for every image position, though there are
thousands of positions and a handful of tokens. Both are linear, so their matrices are moved to the text
side: scores are v·(W_vᵀ k), answers are softmax·(V W_out). The same numbers (up to rounding), without
the three products that cost the most.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Scores are clamped to ± this, so that half precision never meets an infinity.
SCORE_LIMIT = 50000.0


class BiAttention(nn.Module):
    """The projections of the bi-directional attention. Source: `BiMultiHeadAttention`, paper section 3.2."""

    def __init__(self, visual_dim: int, text_dim: int, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.v_proj = nn.Linear(visual_dim, dim)
        self.l_proj = nn.Linear(text_dim, dim)
        self.values_v_proj = nn.Linear(visual_dim, dim)
        self.values_l_proj = nn.Linear(text_dim, dim)
        self.out_v_proj = nn.Linear(dim, visual_dim)
        self.out_l_proj = nn.Linear(dim, text_dim)

    def forward(self, visual: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Let each side look at the other.

        Args:
            visual: (B, N, C) normalised image features of all levels.
            text: (B, T, D) normalised text features.
            mask: (B, T) bool, True on real tokens.

        Returns:
            (B, N, C) what the text says to the image, (B, T, D) what the image says to the text.
        """
        scores = self._scores(visual, text)  # (B, N, heads * T)
        batch, positions = scores.shape[:2]
        by_head = scores.view(batch, positions, self.heads, -1)
        hidden = ~mask[:, None, None, :]
        to_image = by_head.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(-1).view_as(scores)
        # No mask here: a padded token gets an answer too, which nobody reads.
        to_text = scores.transpose(1, 2).softmax(-1)  # (B, heads * T, N)
        return self._to_image(to_image, text), self._to_text(to_text, visual)

    def _scores(self, visual: Tensor, text: Tensor) -> Tensor:
        keys = self._split(self.l_proj(text)) * self.scale  # (B, heads, T, d)
        weight = self.v_proj.weight.view(self.heads, -1, visual.shape[-1])  # (heads, d, C)
        folded = (keys @ weight).flatten(1, 2)  # (B, heads * T, C)
        bias = keys @ self.v_proj.bias.view(self.heads, -1, 1)  # (B, heads, T, 1)
        scores = torch.baddbmm(bias.flatten(1)[:, None, :], visual, folded.transpose(1, 2))
        return scores.clamp_(-SCORE_LIMIT, SCORE_LIMIT)

    def _to_image(self, attention: Tensor, text: Tensor) -> Tensor:
        values = self._split(self.values_l_proj(text))  # (B, heads, T, d)
        weight = self.out_v_proj.weight.T.reshape(self.heads, -1, self.out_v_proj.out_features)
        folded = (values @ weight).flatten(1, 2)  # (B, heads * T, C)
        return torch.baddbmm(self.out_v_proj.bias, attention, folded)

    def _to_text(self, attention: Tensor, visual: Tensor) -> Tensor:
        seen = (attention @ visual).view(len(visual), self.heads, -1, visual.shape[-1])
        weight = self.values_v_proj.weight.view(self.heads, -1, visual.shape[-1]).transpose(1, 2)
        # The attention sums to one over the positions, so the bias passes through it unchanged.
        values = seen @ weight + self.values_v_proj.bias.view(self.heads, 1, -1)  # (B, heads, T, d)
        answer: Tensor = self.out_l_proj(values.transpose(1, 2).flatten(2))
        return answer

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # (B, heads, T, d)


class Fusion(nn.Module):
    """Normalise both sides, exchange, add. Source: `BiAttentionBlock` of `utils/fuse_helper.py`."""

    def __init__(self, visual_dim: int, text_dim: int, dim: int, heads: int) -> None:
        super().__init__()
        self.layer_norm_v = nn.LayerNorm(visual_dim)
        self.layer_norm_l = nn.LayerNorm(text_dim)
        self.attn = BiAttention(visual_dim, text_dim, dim, heads)
        self.gamma_v = nn.Parameter(torch.ones(visual_dim))
        self.gamma_l = nn.Parameter(torch.ones(text_dim))

    def forward(
        self, levels: tuple[Tensor, ...], text: Tensor, mask: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Fuse five (B, C, H_l, W_l) levels with (B, T, D) text under a (B, T) mask; same shapes back."""
        visual = self.layer_norm_v(torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1))
        text = self.layer_norm_l(text)
        to_image, to_text = self.attn(visual, text, mask)
        # The residual is the normalised input, not the input: so the published weights were trained.
        visual = visual + self.gamma_v * to_image
        return split_levels(visual, levels), text + self.gamma_l * to_text


def split_levels(visual: Tensor, like: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Cut (B, N, C) positions into (B, C, H_l, W_l) maps of the sizes of `like` (views, channels last)."""
    parts = torch.split(visual, [level.shape[2] * level.shape[3] for level in like], dim=1)
    sized = zip(parts, like, strict=True)
    return tuple(part.view(len(part), *level.shape[2:], -1).permute(0, 3, 1, 2) for part, level in sized)
