"""The head tower and its predictions. Source: `modeling/rpn/vldyhead.py`, `layers/dyrelu.py`."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLayer

from groundstream.models.glip.config import STRIDES, GlipConfig
from groundstream.models.glip.deform import DeformConv, Offsets
from groundstream.models.glip.fusion import SCORE_LIMIT, Fusion

Levels = tuple[Tensor, ...]


class Predictions(NamedTuple):
    """What the head says of every position of P3..P7, row by row, fine to coarse.

    `deltas` (B, N, 4) move the position's anchor, `centerness` (B, N) and `logits` (B, N, T) are before
    their sigmoid; `sizes` are the (H_l, W_l) of the levels.
    """

    deltas: Tensor
    centerness: Tensor
    logits: Tensor
    sizes: tuple[tuple[int, int], ...]


class DeformNorm(nn.Module):
    """A deformable 3x3 convolution with group normalisation."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = DeformConv(channels, stride)
        self.norm = nn.GroupNorm(16, channels)

    def forward(self, x: Tensor, offsets: Offsets) -> Tensor:
        """Convolve (B, C, H, W) where `offsets` say; (B, C, h, w)."""
        normed: Tensor = self.norm(self.conv(x, offsets))
        return normed


class DynamicReLU(nn.Module):
    """max(a1·y + b1, a2·y + b2) with coefficients from the picture itself (arXiv 2003.10027, type B)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // 4), nn.ReLU(), nn.Linear(channels // 4, 4 * channels)
        )

    def forward(self, y: Tensor) -> Tensor:
        """Activate (B, C, H, W)."""
        theta = F.hardsigmoid(self.fc(y.mean((2, 3)))) - 0.5  # (B, 4 * C)
        a1, b1, a2, b2 = theta[..., None, None].chunk(4, dim=1)
        return torch.maximum(y * (2 * a1 + 1) + b1, y * (2 * a2) + b2)


class DynamicConv(nn.Module):
    """One image block of a dynamic head: each level meets its neighbours through deformable convolutions.

    A level's new map is the mean of two or three candidates (from itself, the finer and the coarser
    level), each weighted by one number per picture. All three read the offsets of the level they make.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(channels, 27, 3, padding=1)
        self.from_coarser = DeformNorm(channels, 1)
        self.from_same = DeformNorm(channels, 1)
        self.from_finer = DeformNorm(channels, 2)
        self.attention = nn.Conv2d(channels, 1, 1)
        self.relu = DynamicReLU(channels)

    def forward(self, levels: Levels) -> Levels:
        """Turn the levels, each (B, C, H_l, W_l), into new ones of the same sizes."""
        return tuple(self._level(number, levels) for number in range(len(levels)))

    def _level(self, number: int, levels: Levels) -> Tensor:
        x = levels[number]
        offsets = Offsets.of(self.offset(x))
        candidates = [self.from_same(x, offsets)]
        if number > 0:
            candidates.append(self.from_finer(levels[number - 1], offsets))
        if number + 1 < len(levels):
            coarse = levels[number + 1]
            small = self.from_coarser(coarse, offsets.reread(*coarse.shape[2:]))
            candidates.append(F.interpolate(small, size=x.shape[2:], mode="bilinear", align_corners=True))
        weighted = [candidate * self._importance(candidate) for candidate in candidates]
        new: Tensor = self.relu(sum(weighted[1:], weighted[0]) / len(weighted))
        return new

    def _importance(self, candidate: Tensor) -> Tensor:
        """Return (B, 1, 1, 1) in 0.5..1: the inner ReLU keeps it from falling lower."""
        return F.hardsigmoid(F.relu(self.attention(candidate.mean((2, 3), keepdim=True))))


class Block(nn.Module):
    """Fusion, then text and image each for itself; GLIP-T (A) has the image part only."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.image = DynamicConv(config.channels)
        if config.fusion:
            self.fusion = Fusion(config.channels, config.text_dim, config.fusion_dim, config.fusion_heads)
            self.text = BertLayer(bert_config(config))  # type: ignore[no-untyped-call]
        self.fused = config.fusion

    def forward(self, levels: Levels, text: Tensor, mask: Tensor) -> tuple[Levels, Tensor]:
        """Turn levels and (B, T, D) text under a (B, T) mask into new ones of the same shapes."""
        if self.fused:
            levels, text = self.fusion(levels, text, mask)
            text = self.text(text, attention_mask=mask[:, None, None, :])
        return self.image(levels), text


class GlipHead(nn.Module):
    """Levels and text in; boxes, centerness and the alignment of every position with every token out."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.box = nn.Conv2d(config.channels, 4, 1)
        self.centerness = nn.Conv2d(config.channels, 1, 1)
        self.scales = nn.ParameterList(torch.ones(1) for _ in STRIDES)
        self.project_text = nn.Linear(config.text_dim, config.channels)
        self.text_bias = nn.Parameter(torch.zeros(config.text_dim))
        self.token_bias = nn.Parameter(torch.zeros(1))
        self.log_scale = nn.Parameter(torch.zeros(1))

    def forward(self, levels: Levels, text: Tensor, mask: Tensor) -> Predictions:
        """Ground the text in the picture.

        Args:
            levels: P3..P7, each (B, C, H_l, W_l).
            text: (B, T, D) last hidden states of BERT.
            mask: (B, T) bool, True on real tokens.
        """
        for block in self.blocks:
            levels, text = block(levels, text, mask)
        boxes = [self.box(x) * scale for x, scale in zip(levels, self.scales, strict=True)]
        centerness = rows([self.centerness(level) for level in levels]).squeeze(-1)
        sizes = tuple((level.shape[2], level.shape[3]) for level in levels)
        return Predictions(rows(boxes), centerness, self._align(rows(levels), text), sizes)

    def _align(self, positions: Tensor, text: Tensor) -> Tensor:
        """Return (B, N, T) logits of (B, N, C) positions against (B, T, D) tokens."""
        text = F.normalize(text, dim=-1)
        tokens = self.project_text(text / 2) / self.log_scale.exp()  # (B, T, C)
        bias = text @ self.text_bias + self.token_bias  # (B, T)
        logits = torch.baddbmm(bias[:, None, :], positions, tokens.transpose(1, 2))
        return logits.clamp_(-SCORE_LIMIT, SCORE_LIMIT)


def rows(levels: list[Tensor] | Levels) -> Tensor:
    """Join (B, C, H_l, W_l) maps to (B, N, C), row by row, level after level."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)


def bert_config(config: GlipConfig) -> BertConfig:
    """Return the BERT of `config`, for the text encoder and for the layers of the head."""
    settings: dict[str, Any] = {
        "vocab_size": config.vocabulary,
        "hidden_size": config.text_dim,
        "num_hidden_layers": config.text_layers,
        "num_attention_heads": config.text_heads,
        "intermediate_size": config.text_hidden,
        "attn_implementation": "sdpa",
    }
    return BertConfig(**settings)
