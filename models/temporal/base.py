"""What every temporal adapter has in common: its memory is an argument, real time between frames, exactness.

An adapter stands between a frozen backbone and the grounding: it may change the feature maps of a frame by
what it remembers of the stream's earlier frames. Without memory it changes nothing, by its algebra.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Memory:
    """What an adapter remembers of a batch of streams, batch first; free of text.

    Attributes:
        mean: (B, N, D) floating point, running means of what was seen; N cells, level after level.
        evidence: (B, N or 1, G) floating point, how much each mean rests on; 0 where nothing is remembered.
    """

    mean: Tensor
    evidence: Tensor

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def nbytes(self) -> int:
        """Bytes of all streams together."""
        return self.mean.nbytes + self.evidence.nbytes

    def to(self, dtype: torch.dtype) -> Memory:
        """Return it in another number format."""
        return Memory(self.mean.to(dtype), self.evidence.to(dtype))

    def select(self, rows: Sequence[int]) -> Memory:
        """Return the memory of the streams at `rows`, in that order."""
        index = torch.tensor(list(rows), device=self.mean.device)
        return Memory(self.mean.index_select(0, index), self.evidence.index_select(0, index))


class TemporalAdapter(ABC, nn.Module):
    """Corrects the feature maps of a frame by what is remembered of its stream.

    For every adapter holds, bit for bit where numbers are float32: without memory (`empty`, `keep` False, or
    a gap so long that all evidence has faded) the levels come back as they are, whatever the weights.
    """

    name: str

    def prepare(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Make it ready to serve a model on `device` whose feature maps are in `dtype`."""
        return self.eval().requires_grad_(False).to(device)

    @abstractmethod
    def empty(self, levels: Sequence[Tensor]) -> Memory:
        """Return the memory of streams of which nothing is known, for feature maps shaped like `levels`."""

    @abstractmethod
    def step(
        self, levels: Sequence[Tensor], memory: Memory, dt_s: Tensor, keep: Tensor, write: Tensor
    ) -> tuple[list[Tensor], Memory]:
        """Correct one frame of each of B different streams.

        Args:
            levels: one (B, C_l, H_l, W_l) map per level, finest first.
            memory: of the same streams, in the same order.
            dt_s: (B,) float32 seconds since each memory was last written; below 0 counts as 0.
            keep: (B,) bool; where False the memory is taken for empty, whatever it holds (NaN too).
            write: (B,) bool; where False the memory comes back as it was (a late or repeated frame).
                `dt_s`, `keep` and `write` may lie on the CPU, which saves a GPU from waiting.

        Returns:
            The corrected levels, shaped and typed like `levels`, and the new memory.

        Raises:
            ValueError: the memory does not fit the levels.
        """


def as_rows(level: Tensor) -> Tensor:
    """Return (B, H * W, C) of a (B, C, H, W) map, a view where channels come last in memory."""
    return level.flatten(2).transpose(1, 2)


def as_level(rows: Tensor, level: Tensor) -> Tensor:
    """Return (B, H * W, C) as a map with the memory layout of `level`: what follows rounds as it did."""
    out = rows.transpose(1, 2).reshape(level.shape)
    return out.contiguous() if level.is_contiguous() else out


def hold(old: Memory, new: Memory, write: Tensor) -> Memory:
    """Return `new` where `write` is True, else `old`."""
    if bool(write.all()):
        return new
    on = write.to(new.mean.device)[:, None, None]
    return Memory(torch.where(on, new.mean, old.mean), torch.where(on, new.evidence, old.evidence))


def usable(memory: Memory, dt_s: Tensor, keep: Tensor, half_life_s: Tensor) -> Memory:
    """Return `memory` with its evidence faded over `dt_s`, and empty where `keep` is False.

    Args:
        memory: what was kept.
        dt_s: (B,) float32 seconds, below 0 counts as 0.
        keep: (B,) bool.
        half_life_s: (G,) seconds in which evidence halves.
    """
    fade = torch.exp2(-dt_s.to(half_life_s.device).clamp(min=0)[:, None] / half_life_s)  # (B, G)
    evidence = memory.evidence * fade[:, None]
    if bool(keep.all()):
        return Memory(memory.mean, evidence)
    lost = ~keep.to(evidence.device)[:, None, None]  # filled, not multiplied: an old memory may hold NaN
    return Memory(memory.mean.masked_fill(lost, 0), evidence.masked_fill(lost, 0))
