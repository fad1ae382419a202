"""How much a frame writes to the memory, and how much of the memory is read: per cell and decay group."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundstream.models.temporal_base import Memory

#: bounds of the logarithm of a write weight: a frame always writes a little, so no sum of evidence is 0.
LEAST_WRITE, MOST_WRITE = -7.0, 3.0
#: start value: almost all of the innovation is read.
START_READ = 0.88
HIDDEN = 32


class Gates(nn.Module):
    """Write weights (above 0) and read weights (0..1), by distance or by a small network."""

    def __init__(self, kind: Literal["distance", "mlp"], width: int, groups: int) -> None:
        super().__init__()
        self.kind, self.groups = kind, groups
        start = torch.tensor([0.0, math.log(START_READ / (1 - START_READ))])
        self.bias = nn.Parameter(start[:, None].repeat(1, groups))  # (2, G)
        if kind == "distance":
            self.by_distance = nn.Parameter(torch.zeros(2, groups))
            self.by_evidence = nn.Parameter(torch.zeros(2, groups))
        else:
            self.enter = nn.Linear(3 * width + groups, HIDDEN)
            self.leave = nn.Linear(HIDDEN, 2 * groups, bias=False)
            nn.init.zeros_(self.leave.weight)

    def forward(self, z: Tensor, past: Memory, change: Tensor) -> tuple[Tensor, Tensor]:
        """Return write and read weights, each (B, N, G).

        Args:
            z: (B, N, D) what the frame shows.
            past: the memory of the same cells.
            change: (B, N, G, D / G), memory minus frame.
        """
        if self.kind == "distance":
            logits = self._by_distance(past, change)
        else:
            logits = self._by_network(z, past, change)
        write, read = logits[..., 0, :], logits[..., 1, :]
        return write.clamp(LEAST_WRITE, MOST_WRITE).exp(), torch.sigmoid(read)

    def _by_distance(self, past: Memory, change: Tensor) -> Tensor:
        distance = change.square().mean(3).add(1e-6).log().unsqueeze(2)  # (B, N, 1, G)
        trust = past.evidence.log1p().unsqueeze(2)
        return self.bias + self.by_distance * distance + self.by_evidence * trust  # (B, N, 2, G)

    def _by_network(self, z: Tensor, past: Memory, change: Tensor) -> Tensor:
        seen = torch.cat((z, past.mean, change.flatten(2).abs(), past.evidence.log1p()), 2)
        logits: Tensor = self.leave(F.gelu(self.enter(seen)))
        return self.bias + logits.view(*z.shape[:2], 2, self.groups)
