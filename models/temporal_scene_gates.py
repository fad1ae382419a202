"""Gates that see more than a cell: how far frame and memory are apart here, around here and everywhere.

Blur, noise or a flash changes the whole frame at once; a thing that moves changes its own cells and those
around it. One number per cell cannot tell the two apart, so the small network is also given the distance in
the 3x3 neighbourhood and over the whole level, and what it makes of a frame on average.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundstream.models.temporal_base import Memory

HIDDEN = 32
#: bounds of the logarithm of a write weight: a frame always writes a little, so no sum of evidence is 0, and
#: can outweigh all that is remembered, so that what has left is overwritten.
LEAST_WRITE, MOST_WRITE = -7.0, 5.0
#: keeps the ratio of two features that are both almost 0 finite.
TINY = 1e-4


class SceneGates(nn.Module):
    """Write weights (above 0) and read weights (0..1) of every cell and group.

    Args:
        levels: how many levels there are; each has its own bias.
        width: channels of the memory.
        groups: decay groups.
    """

    def __init__(self, levels: int, width: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        # Zeros: every frame counts one, half of the innovation is read.
        self.bias = nn.Parameter(torch.zeros(levels, 2, groups))
        self.enter = nn.Linear(3 * width + 4 * groups, HIDDEN)
        self.leave = nn.Linear(HIDDEN, 2 * groups, bias=False)
        self.ctx = nn.Linear(HIDDEN, HIDDEN)
        self.ctx_out = nn.Linear(HIDDEN, 2 * groups, bias=False)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.ctx_out.weight)

    def forward(
        self, z: Tensor, past: Memory, change: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Return write and read weights, each (B, N, G).

        Args:
            z: (B, N, D) what the frame shows.
            past: the memory of the same cells.
            change: (B, N, G, D / G), memory minus frame.
            sizes: height and width of each level.
        """
        apart = self._distances(z, past, change, sizes)
        seen = torch.cat((z, past.mean, change.flatten(2).abs(), past.evidence.log1p(), *apart), 2)
        hidden = F.gelu(self.enter(seen))
        whole = _product(
            F.gelu(_product(hidden.mean(1, keepdim=True), self.ctx)), self.ctx_out
        )  # (B, 1, 2 G)
        cells = [height * width for height, width in sizes]
        bias = torch.cat(
            [row.flatten().expand(count, -1) for row, count in zip(self.bias, cells, strict=True)]
        )
        logits = (self.leave(hidden) + bias + whole).view(*z.shape[:2], 2, self.groups)
        write, read = logits[..., 0, :], logits[..., 1, :]
        return write.clamp(LEAST_WRITE, MOST_WRITE).exp(), torch.sigmoid(read)

    def _distances(
        self, z: Tensor, past: Memory, change: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the distances, relative to the features' sizes, per cell, around it and of its level."""
        apart = change.square().mean(3)  # (B, N, G)
        size = (z.view_as(change).square() + past.mean.view_as(change).square()).mean(3)
        near, level = [], []
        cells = [height * width for height, width in sizes]
        both = torch.split(torch.cat((apart, size), 2), cells, 1)
        for part, shape in zip(both, sizes, strict=True):
            grid = part.transpose(1, 2).reshape(len(part), -1, *shape)
            around = F.avg_pool2d(grid, 3, 1, 1, count_include_pad=False).flatten(2).transpose(1, 2)
            near.append(_ratio(around, self.groups))
            level.append(_ratio(part.mean(1, keepdim=True), self.groups).expand_as(near[-1]))
        return apart / (size + TINY), torch.cat(near, 1), torch.cat(level, 1)


def _product(row: Tensor, layer: nn.Linear) -> Tensor:
    """Apply a layer to (B, 1, C), each sample's sums in an order that does not depend on the batch."""
    weight = layer.weight.T.expand(len(row), -1, -1)
    product = row.expand(-1, 2, -1).bmm(weight)[:, :1]
    return product if layer.bias is None else product + layer.bias


def _ratio(both: Tensor, groups: int) -> Tensor:
    return both[..., :groups] / (both[..., groups:] + TINY)
