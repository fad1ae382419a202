"""Adapters without weights: what a trained one is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from groundstream.models.temporal.base import Memory, TemporalAdapter, as_level, as_rows, hold, usable


class NoAdapter(TemporalAdapter):
    """Frame by frame: remembers nothing, changes nothing."""

    name = "none"

    def empty(self, levels: Sequence[Tensor]) -> Memory:
        """Return a memory of no cells."""
        nothing = levels[0].new_zeros(len(levels[0]), 0, 1)
        return Memory(nothing, nothing.float())

    def step(
        self, levels: Sequence[Tensor], memory: Memory, dt_s: Tensor, keep: Tensor, write: Tensor
    ) -> tuple[list[Tensor], Memory]:
        """Return the levels and the memory as they are."""
        return list(levels), memory


class FeatureEMA(TemporalAdapter):
    """An exponential mean of the features themselves: steady scenes gain, moving things leave trails."""

    name = "ema"

    def __init__(self, half_life_s: float = 0.2) -> None:
        super().__init__()
        if half_life_s <= 0:
            raise ValueError(f"expected a half-life above 0 s, but got {half_life_s}")
        self.half_life_s = half_life_s

    def empty(self, levels: Sequence[Tensor]) -> Memory:
        """Return zeros: (B, K, 1) for all K numbers of all levels, and one evidence per stream."""
        numbers = sum(level[0].numel() for level in levels)
        mean = levels[0].new_zeros(len(levels[0]), numbers, 1)
        return Memory(mean, mean.new_zeros(len(mean), 1, 1, dtype=torch.float32))

    def step(
        self, levels: Sequence[Tensor], memory: Memory, dt_s: Tensor, keep: Tensor, write: Tensor
    ) -> tuple[list[Tensor], Memory]:
        """Return the mean of frame and memory; the memory weighs 2^(-dt / half-life)."""
        now = torch.cat([as_rows(level).flatten(1) for level in levels], 1).unsqueeze(2)
        if now.shape != memory.mean.shape:
            raise ValueError(f"expected a memory of shape {tuple(now.shape)}, got {tuple(memory.mean.shape)}")
        past = usable(memory, dt_s, keep, now.new_tensor([self.half_life_s], dtype=torch.float32))
        mean = (now + past.evidence * (past.mean - now)).to(now.dtype)
        parts = torch.split(mean.squeeze(2), [level[0].numel() for level in levels], 1)
        out = [
            as_level(part.view(len(part), -1, level.shape[1]), level)
            for part, level in zip(parts, levels, strict=True)
        ]
        return out, hold(memory, Memory(mean, torch.ones_like(past.evidence)), write)
