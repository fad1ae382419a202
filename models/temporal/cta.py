"""CTA, the causal temporal adapter: a running mean with forgetting per cell, and a gated correction.

Per cell of every level, for features X of the frame and a memory (mean M, evidence n):

    z  = W_d X                                a few channels of the features
    n̄  = n 2^(-dt / h_g)                      evidence fades with real time, by a half-life per group
    w, v = gates(X, M, n̄)                     how much this frame writes, how much memory is read
    g  = n̄ / (n̄ + w)
    e  = g (M - z)                            the innovation: 0 wherever there is no evidence
    M' = z + e ;  n' = min(n̄ + w, limit)
    Y  = X + W_u (v e)

Evidence 0 makes g, e and so the correction exactly 0: the first frame, a frame after a reset and one after a
long gap give the frozen model's answer bit for bit, whatever the weights. The form unites the decayed
attention state of TeSTra (Zhao & Krähenbühl 2022, section 3.2) with the bottleneck adapters of ST-Adapter
(Pan et al. 2022).

The gates are a small network that sees, beside some channels of frame and memory, how far the two are apart:
in the cell, around it and in the whole frame. Blur, noise or a flash changes the whole frame at once; a thing
that moves changes its own cells and those around it. A gate that sees its cell alone cannot tell the two
apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundstream.models.temporal.base import Memory, TemporalAdapter, as_level, as_rows, hold, usable

#: half-lives stay below this, so that evidence is exactly 0 in float32 after 10,000 s.
LONGEST_S = 60.0
#: bounds of the logarithm of a write weight: a frame always writes a little, so no sum of evidence is 0, and
#: can outweigh all that is remembered, so that what has left is overwritten.
LEAST_WRITE, MOST_WRITE = -7.0, 5.0
#: keeps the ratio of two features that are both almost 0 finite.
TINY = 1e-4


@dataclass(frozen=True)
class CTAConfig:
    """Sizes of a `CTA`.

    Attributes:
        channels: channels of each level, finest first.
        width: D, channels that are remembered per cell; a multiple of the number of groups.
        half_lives_s: start value of the half-life of each decay group, in seconds.
        hidden: width of the gates' network.
        evidence_limit: upper bound of the evidence; 1 / (limit + 1) is the least weight of a new frame.
    """

    channels: tuple[int, ...]
    width: int = 64
    half_lives_s: tuple[float, ...] = (0.5, 8.0)
    hidden: int = 16
    evidence_limit: float = 8.0

    def __post_init__(self) -> None:
        if self.width % self.groups:
            raise ValueError(
                f"expected a width that is a multiple of {self.groups} groups, but got {self.width}"
            )
        if not all(0 < value < LONGEST_S for value in self.half_lives_s):
            raise ValueError(f"expected half-lives in 0..{LONGEST_S:g} s, but got {self.half_lives_s}")

    @property
    def groups(self) -> int:
        """The number of decay groups."""
        return len(self.half_lives_s)


class CTA(TemporalAdapter):
    """The causal temporal adapter; see the module's head for its equations.

    At initialisation `W_u` is 0, so that it changes nothing before it is trained.
    """

    name = "cta"

    def __init__(self, config: CTAConfig) -> None:
        super().__init__()
        self.config = config
        self.down = nn.ParameterList(_projection(channels, config) for channels in config.channels)
        self.up = nn.ParameterList(torch.zeros(config.width, channels) for channels in config.channels)
        share = torch.tensor(config.half_lives_s) / LONGEST_S
        self.half_life = nn.Parameter(torch.log(share / (1 - share)))
        self.gates = Gates(len(config.channels), config)

    def prepare(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Place what multiplies feature maps in `dtype`, the rest in float32."""
        super().prepare(device, torch.float32)
        for parameter in (*self.down, *self.up):
            parameter.data = parameter.data.to(dtype)
        return self

    def measured_in(self, units: Sequence[Tensor]) -> Self:
        """Make of weights for features that are divided by `units` those for the features themselves.

        Args:
            units: (C_l,) per level, above 0.
        """
        for down, up, unit in zip(self.down, self.up, units, strict=True):
            down.data /= unit[:, None]
            up.data *= unit
        return self

    @property
    def half_lives_s(self) -> Tensor:
        """(G,) half-lives in seconds, as learned so far."""
        return LONGEST_S * torch.sigmoid(self.half_life)

    def empty(self, levels: Sequence[Tensor]) -> Memory:
        """Return zeros: (B, N, D) means and (B, N, G) evidence, both float32."""
        batch, cells = len(levels[0]), sum(level.shape[2] * level.shape[3] for level in levels)
        mean = levels[0].new_zeros(batch, cells, self.config.width, dtype=torch.float32)
        return Memory(mean, mean.new_zeros(batch, cells, self.config.groups))

    def step(
        self, levels: Sequence[Tensor], memory: Memory, dt_s: Tensor, keep: Tensor, write: Tensor
    ) -> tuple[list[Tensor], Memory]:
        """Correct one frame of each stream; see `TemporalAdapter.step`.

        Products with the feature maps are taken in their number format, all else in float32.
        """
        sizes = [(level.shape[2], level.shape[3]) for level in levels]
        rows = [as_rows(level) for level in levels]
        cells = [row.shape[1] for row in rows]
        if sum(cells) != memory.mean.shape[1]:
            raise ValueError(f"expected a memory of {sum(cells)} cells, but got {memory.mean.shape[1]}")
        z, glimpse = self._look(rows)
        past = usable(memory, dt_s, keep, self.half_lives_s)
        shown, now = self._correct(z, glimpse, past, sizes)
        parts = torch.split(shown.to(rows[0].dtype), cells, 1)
        out = [
            as_level(_add_product(row, part, up.to(row.dtype)), level)
            for row, part, up, level in zip(rows, parts, self.up, levels, strict=True)
        ]
        return out, hold(memory, now, write)

    def _look(self, rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return z, (B, N, D), and what else the gates see of the frame, (B, N, H); both float32."""
        parts = [_product(row, down.to(row.dtype)) for row, down in zip(rows, self.down, strict=True)]
        seen = torch.cat(parts, 1).float()
        return seen[..., : self.config.width], seen[..., self.config.width :]

    def _correct(
        self, z: Tensor, glimpse: Tensor, past: Memory, sizes: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Memory]:
        """Return v e, (B, N, D), and the new memory."""
        change = (past.mean - z).view(*z.shape[:2], self.config.groups, -1)  # (B, N, G, D / G)
        write, read = self.gates(z, glimpse, past, change, sizes)
        total = past.evidence + write
        part = past.evidence / total  # (B, N, G)
        e = (change * part.unsqueeze(3)).flatten(2)
        shown = (change * (part * read).unsqueeze(3)).flatten(2)
        return shown, Memory(z + e, total.clamp(max=self.config.evidence_limit))


class Gates(nn.Module):
    """Write weights (above 0) and read weights (0..1) of every cell and group.

    At initialisation every frame counts one, and half of the innovation is read.

    Args:
        levels: how many levels there are; each has its own bias.
        config: sizes of the adapter.
    """

    def __init__(self, levels: int, config: CTAConfig) -> None:
        super().__init__()
        groups, hidden = config.groups, config.hidden
        self.bias = nn.Parameter(torch.zeros(levels, hidden))
        self.by_memory = _random(config.width, hidden)
        self.by_distance = _random(3 * groups, hidden)
        self.by_frame = _random(groups, hidden)
        self.leave = nn.Parameter(torch.zeros(hidden, 2 * groups))
        self.enter_summary = _random(hidden, hidden)
        self.bias_summary = nn.Parameter(torch.zeros(hidden))
        self.leave_summary = nn.Parameter(torch.zeros(hidden, 2 * groups))
        self.bias_leave = nn.Parameter(torch.zeros(2 * groups))

    def forward(
        self, z: Tensor, glimpse: Tensor, past: Memory, change: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Return write and read weights, each (B, N, G).

        Args:
            z: (B, N, D) what is remembered of the frame.
            glimpse: (B, N, H) what else is seen of it.
            past: the memory of the same cells.
            change: (B, N, G, D / G), memory minus frame.
            sizes: height and width of each level.
        """
        distances, frame = _distances(z, past, change, sizes)
        seen = torch.cat((past.evidence.log1p(), distances), 2)
        cells = [height * width for height, width in sizes]
        bias = torch.cat([row.expand(count, -1) for row, count in zip(self.bias, cells, strict=True)])
        hidden = glimpse + (bias + _product(frame, self.by_frame))
        hidden = _add_product(_add_product(hidden, past.mean, self.by_memory), seen, self.by_distance)
        hidden = F.relu(hidden)
        summary = _product(hidden.mean(1, keepdim=True), self.enter_summary) + self.bias_summary
        whole = _product(F.relu(summary), self.leave_summary) + self.bias_leave  # (B, 1, 2 G)
        logits = _add_product(whole.expand(-1, z.shape[1], -1), hidden, self.leave)
        write, read = logits.chunk(2, 2)
        return write.clamp(LEAST_WRITE, MOST_WRITE).exp(), torch.sigmoid(read)


def _distances(
    z: Tensor, past: Memory, change: Tensor, sizes: Sequence[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """Return how far frame and memory are apart, relative to the size of both.

    (B, N, 2 G) in each cell and in the 3x3 cells around it; (B, 1, G) over all cells of all levels.
    """
    groups = change.shape[2]
    apart = change.square().mean(3)  # (B, N, G)
    size = torch.addcmul(z.square(), past.mean, past.mean).view_as(change).mean(3)
    both = torch.cat((apart, size), 2)
    parts = torch.split(both, [height * width for height, width in sizes], 1)
    around = torch.cat([_around(part, size) for part, size in zip(parts, sizes, strict=True)], 1)
    frame = both.mean(1, keepdim=True)
    return torch.cat((_ratio(both, groups), _ratio(around, groups)), 2), _ratio(frame, groups)


def _around(rows: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (B, H * W, K): the mean over the 3x3 cells around each, counting zeros beyond the edge."""
    # Sums of slices are three times as fast as pooling so few channels.
    grid = F.pad(rows.reshape(len(rows), *size, -1), (0, 0, 1, 1, 1, 1))
    lines = grid[:, :-2] + grid[:, 1:-1] + grid[:, 2:]
    return ((lines[:, :, :-2] + lines[:, :, 1:-1] + lines[:, :, 2:]) / 9).flatten(1, 2)


def _ratio(both: Tensor, groups: int) -> Tensor:
    return both[..., :groups] / (both[..., groups:] + TINY)


def _projection(channels: int, config: CTAConfig) -> nn.Parameter:
    """Return (channels, D + H): D orthonormal columns (rows, if channels are fewer), and H small ones."""
    kept = nn.init.orthogonal_(torch.empty(config.width, channels)).T
    return nn.Parameter(torch.cat((kept, _random(channels, config.hidden)), 1))


def _random(enter: int, leave: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(enter, leave) * 0.5 / enter**0.5)


def _product(rows: Tensor, weight: Tensor) -> Tensor:
    """Return (B, N, C) @ (C, D), each sample multiplied by itself.

    One product of B * N rows would let BLAS cut them into blocks across samples; this way a sample's sums do
    not depend on the others. Their order may still depend on how the sample lies in memory (rounding only).
    """
    return _twice(rows).bmm(weight.expand(len(rows), -1, -1))[:, : rows.shape[1]]


def _add_product(base: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
    """Return (B, N, C) + (B, N, D) @ (D, C); base where the product is 0, to the bit."""
    product = torch.baddbmm(_twice(base), _twice(rows), weight.expand(len(rows), -1, -1))
    return product[:, : base.shape[1]]


def _twice(rows: Tensor) -> Tensor:
    # A single row is a vector to BLAS, which then sums in another order than in a batch.
    return rows.expand(-1, 2, -1) if rows.shape[1] == 1 else rows
