"""Local alignment of a memory to a frame: each cell looks around itself for what it shows now.

s_o = τ cos(W_q z(p), W_k M(p + o)) + b_o + log n̄(p + o)      for every offset o within the radius
s_0 = c + τ / 2                                               a place that matches nothing has no memory
a   = softmax over offsets and the no-match
n_a = Σ a_o n̄(p + o) ;  R = Σ a_o n̄(p + o) M(p + o) / n_a     per decay group
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundstream.models.temporal_base import Memory

#: keeps logarithms and quotients of no evidence finite; far below the least evidence that is written.
TINY = 1e-12
#: start value of b_o at the same place: things mostly stay where they were.
START_HERE = 2.0


class Alignment(nn.Module):
    """Moves mean and evidence to where the frame shows the same thing; radius 0 leaves a level as it is."""

    def __init__(self, radius: Sequence[int], width: int, groups: int) -> None:
        super().__init__()
        self.radius = tuple(radius)
        self.query, self.key = nn.Parameter(torch.eye(width)), nn.Parameter(torch.eye(width))
        self.sharpness = nn.Parameter(torch.tensor(8.0))
        self.nothing = nn.Parameter(torch.zeros(len(radius)))
        self.place = nn.ParameterList(torch.zeros((2 * r + 1) ** 2 if r else 0) for r in radius)
        for place in self.place:
            place.data[len(place) // 2 : len(place) // 2 + 1] = START_HERE

    def forward(self, z: Tensor, past: Memory, sizes: Sequence[tuple[int, int]]) -> Memory:
        """Return mean (B, N, D) and evidence (B, N, G) as seen from the frame's cells."""
        cells = [height * width for height, width in sizes]
        query = F.normalize(z @ self.query.to(z.dtype), dim=2)
        key = F.normalize(past.mean @ self.key.to(z.dtype), dim=2)
        parts = [torch.split(part, cells, 1) for part in (query, key, past.mean, past.evidence)]
        levels = [
            self._align(number, sizes[number], *part) for number, part in enumerate(zip(*parts, strict=True))
        ]
        means, evidences = zip(*levels, strict=True)
        return Memory(torch.cat(means, 1), torch.cat(evidences, 1))

    def _align(
        self,
        level: int,
        size: tuple[int, int],
        query: Tensor,
        key: Tensor,
        mean: Tensor,
        evidence: Tensor,
    ) -> tuple[Tensor, Tensor]:
        radius = self.radius[level]
        if radius == 0:
            return mean, evidence
        keys, means, evidences = (_around(part, size, radius) for part in (key, mean, evidence))
        sharpness = self.sharpness
        alike = (query.unsqueeze(2) * keys).sum(3).float() * sharpness + self.place[level]  # (B, N, O)
        scores = alike.unsqueeze(3) + (evidences + TINY).log()  # (B, N, O, G)
        nothing = (self.nothing[level] + sharpness / 2).expand_as(scores[:, :, :1])
        share = torch.cat((scores, nothing), 2).softmax(2)[:, :, :-1] * evidences  # a_o n̄, (B, N, O, G)
        total = share.sum(2)
        weights = (share / (total.unsqueeze(2) + TINY)).to(mean.dtype)
        aligned = (weights.unsqueeze(4) * means.reshape(*means.shape[:3], total.shape[2], -1)).sum(2)
        return aligned.flatten(2), total


def _around(rows: Tensor, size: tuple[int, int], radius: int) -> Tensor:
    """Return (B, H * W, O, K): each cell's neighbours of (B, H * W, K), zeros beyond the edge."""
    side = 2 * radius + 1
    grid = rows.transpose(1, 2).reshape(len(rows), -1, *size)
    found = F.unfold(grid, side, padding=radius)  # (B, K * O, H * W)
    return found.view(len(rows), rows.shape[2], side * side, -1).permute(0, 3, 2, 1)
