"""CTA, the causal temporal adapter: a running mean with forgetting per cell, and a gated correction.

Per cell of every level, for features X of the frame and a memory (mean M, evidence n):

    z  = W_d X                                a few channels of the features
    n̄  = n 2^(-dt / h_g)                      evidence fades with real time, by a half-life per group
    R, n_a = M, n̄                             or the aligned mean and evidence, see `temporal_align`
    w, v = gates(z, R, n_a)                   how much this frame writes, how much memory is read
    g  = n_a / (n_a + w)
    e  = g (R - z)                            the innovation: 0 wherever there is no evidence
    M' = z + e ;  n' = min(n_a + w, limit)
    Y  = X + W_u (v e)

Evidence 0 makes g, e and so the correction exactly 0: the first frame, a frame after a reset and one after a
long gap give the frozen model's answer bit for bit, whatever the weights. The form unites the decayed
attention state of TeSTra (Zhao & Krähenbühl 2022, section 3.2) with the bottleneck adapters of ST-Adapter
(Pan et al. 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundstream.models.temporal_align import Alignment
from groundstream.models.temporal_base import Memory, TemporalAdapter, as_level, as_rows, hold, usable
from groundstream.models.temporal_gates import Gates
from groundstream.models.temporal_scene_gates import SceneGates

__all__ = ["CTA", "CTAConfig", "Memory", "TemporalAdapter"]

#: half-lives stay below this, so that evidence is exactly 0 in float32 after 10,000 s.
LONGEST_S = 60.0


@dataclass(frozen=True)
class CTAConfig:
    """Sizes and parts of a `CTA`.

    Attributes:
        channels: channels of each level, finest first.
        width: D, channels that are remembered per cell; a multiple of the number of groups.
        skip: so many of the finest levels stay as they are; they cost most.
        shared: whether all levels, of equal channels then, share their projections; costs least.
        half_lives_s: start value of the half-life of each decay group, in seconds.
        radius: per level the reach of the alignment in cells; 0 looks at the same place only.
        gates: with `none` every frame writes alike and all memory is read, `distance` lets both follow the
            distance between frame and memory, `mlp` lets a small network look at the two, `scene` shows it
            their distance around the cell and in the whole frame too; per cell and group.
        spread: whether the correction passes a 3x3 depthwise convolution.
        normalize: whether the features pass a layer norm before they are looked at.
        evidence_limit: upper bound of the evidence; 1 / (limit + 1) is the least weight of a new frame.
    """

    channels: tuple[int, ...]
    width: int = 32
    skip: int = 0
    shared: bool = True
    half_lives_s: tuple[float, ...] = (0.25, 1.0, 4.0, 16.0)
    radius: tuple[int, ...] = ()
    gates: Literal["none", "distance", "mlp", "scene"] = "distance"
    spread: bool = False
    normalize: bool = False
    evidence_limit: float = 32.0

    def __post_init__(self) -> None:
        if not self.radius:
            object.__setattr__(self, "radius", (0,) * len(self.channels))
        if not 0 <= self.skip < len(self.channels):
            raise ValueError(f"expected to skip less than {len(self.channels)} levels, but got {self.skip}")
        if len(self.radius) != len(self.channels):
            raise ValueError(f"expected {len(self.channels)} radii, one per level, but got {self.radius}")
        if self.shared and len(set(self.channels)) > 1:
            raise ValueError(f"levels that share projections have equal channels, but got {self.channels}")
        if self.width % len(self.half_lives_s):
            raise ValueError(
                f"expected a width that is a multiple of {len(self.half_lives_s)} groups, got {self.width}"
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
        width, groups = config.width, config.groups
        used, radius = config.channels[config.skip :], config.radius[config.skip :]
        projected = used[:1] if config.shared else used
        self.down = nn.ParameterList(_orthonormal(channels, width) for channels in projected)
        self.up = nn.ParameterList(torch.zeros(width, channels) for channels in projected)
        share = torch.tensor(config.half_lives_s) / LONGEST_S
        self.half_life = nn.Parameter(torch.log(share / (1 - share)))
        self.gates = _gates(config, len(used))
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in projected if config.normalize)
        self.align = Alignment(radius, width, groups) if any(radius) else None
        self.spread = nn.ModuleList(_Spread(width) for _ in used if config.spread)

    def prepare(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Place the projections in `dtype`, the rest in float32."""
        super().prepare(device, torch.float32)
        for parameter in (*self.down, *self.up):
            parameter.data = parameter.data.to(dtype)
        return self

    @property
    def half_lives_s(self) -> Tensor:
        """(G,) half-lives in seconds, as learned so far."""
        return LONGEST_S * torch.sigmoid(self.half_life)

    def empty(self, levels: Sequence[Tensor]) -> Memory:
        """Return zeros: (B, N, D) means and (B, N, G) evidence, both float32.

        Without gates and alignment the evidence is the same in all cells, and is kept once: (B, 1, G).
        """
        used = levels[self.config.skip :]
        batch, cells = len(levels[0]), sum(level.shape[2] * level.shape[3] for level in used)
        mean = levels[0].new_zeros(batch, cells, self.config.width, dtype=torch.float32)
        counts = cells if self.gates is not None or self.align is not None else 1
        return Memory(mean, mean.new_zeros(batch, counts, self.config.groups))

    def step(
        self, levels: Sequence[Tensor], memory: Memory, dt_s: Tensor, keep: Tensor, write: Tensor
    ) -> tuple[list[Tensor], Memory]:
        """Correct one frame of each stream; see `TemporalAdapter.step`.

        Products with the weights are taken in the number format of the levels, all else in float32.
        """
        fine, levels = levels[: self.config.skip], levels[self.config.skip :]
        sizes = [(level.shape[2], level.shape[3]) for level in levels]
        rows = [as_rows(level) for level in levels]
        cells = [row.shape[1] for row in rows]
        if sum(cells) != memory.mean.shape[1]:
            raise ValueError(f"expected a memory of {sum(cells)} cells, but got {memory.mean.shape[1]}")
        if self.config.shared:
            rows = [torch.cat(rows, 1)]
        z = self._look(rows)
        past = usable(memory, dt_s, keep, self.half_lives_s)
        if self.align is not None:
            past = self.align(z, past, sizes)
        shown, now = self._correct(z, past, sizes)
        if self.spread:
            pairs = zip(self.spread, torch.split(shown, cells, 1), sizes, strict=True)
            shown = torch.cat([spread(part, size) for spread, part, size in pairs], 1)
        changed = self._show(rows, shown)
        parts = torch.split(changed[0], cells, 1) if self.config.shared else changed
        out = [as_level(part, level) for part, level in zip(parts, levels, strict=True)]
        return [*fine, *out], hold(memory, now, write)

    def _look(self, rows: Sequence[Tensor]) -> Tensor:
        """Return z, (B, N, D) float32, of (B, N_l, C_l) features."""
        if self.norms:
            rows = [norm(row.float()).to(row.dtype) for norm, row in zip(self.norms, rows, strict=True)]
        parts = [_product(row, down.to(row.dtype)) for row, down in zip(rows, self.down, strict=True)]
        return (parts[0] if self.config.shared else torch.cat(parts, 1)).float()

    def _show(self, rows: Sequence[Tensor], shown: Tensor) -> list[Tensor]:
        """Return X + W_u (v e) for each of `rows`."""
        parts = torch.split(shown.to(rows[0].dtype), [row.shape[1] for row in rows], 1)
        pairs = zip(rows, parts, [up.to(rows[0].dtype) for up in self.up], strict=True)
        if self.config.shared and not torch.is_grad_enabled():
            return [_add_product_(*pair) for pair in pairs]  # the rows are a copy of our own
        return [_add_product(*pair) for pair in pairs]

    def _correct(self, z: Tensor, past: Memory, sizes: Sequence[tuple[int, int]]) -> tuple[Tensor, Memory]:
        """Return v e, (B, N, D), and the new memory."""
        change = past.mean - z
        grouped = change.view(*z.shape[:2], self.config.groups, -1)
        if self.gates is None:
            total, read = past.evidence + 1, None
        else:
            seen = (z, past, grouped)
            write, read = self.gates(*seen, sizes) if self.config.gates == "scene" else self.gates(*seen)
            total = past.evidence + write
        part = past.evidence / total  # (B, N or 1, G)
        e = change * self._per_channel(part)
        shown = e if read is None else change * self._per_channel(part * read)
        return shown, Memory(z + e, total.clamp(max=self.config.evidence_limit))

    def _per_channel(self, part: Tensor) -> Tensor:
        """Return (B, N, D), or what broadcasts to it, of (B, N, G)."""
        groups = self.config.groups
        return part if groups == 1 else part.repeat_interleave(self.config.width // groups, 2)


def _gates(config: CTAConfig, levels: int) -> nn.Module | None:
    if config.gates == "none":
        return None
    if config.gates == "scene":
        return SceneGates(levels, config.width, config.groups)
    return Gates(config.gates, config.width, config.groups)


class _Spread(nn.Conv2d):
    """A 3x3 depthwise convolution without bias that starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 3, padding=1, groups=width, bias=False)
        with torch.no_grad():
            self.weight.zero_()[:, :, 1, 1] = 1

    def forward(self, rows: Tensor, size: tuple[int, int]) -> Tensor:  # type: ignore[override]
        """Map (B, H * W, D) to the same shape."""
        # Rows are channels-last already, for which a depthwise convolution is several times faster.
        grid = rows.reshape(len(rows), *size, -1).permute(0, 3, 1, 2)
        weight = self.weight.to(rows.dtype)
        return F.conv2d(grid, weight, padding=1, groups=len(weight)).permute(0, 2, 3, 1).reshape(rows.shape)


def _orthonormal(channels: int, width: int) -> Tensor:
    """Return (channels, width) with orthonormal columns (rows, where there are fewer channels)."""
    return torch.empty(channels, width).copy_(nn.init.orthogonal_(torch.empty(width, channels)).T)


def _product(rows: Tensor, weight: Tensor) -> Tensor:
    """Return (B, N, C) @ (C, D), each sample's sums in an order that does not depend on the batch."""
    return _twice(rows).bmm(weight.expand(len(rows), -1, -1))[:, : rows.shape[1]]


def _add_product(base: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
    """Return (B, N, C) + (B, N, D) @ (D, C); base where the product is 0, to the bit."""
    product = torch.baddbmm(_twice(base), _twice(rows), weight.expand(len(rows), -1, -1))
    return product[:, : base.shape[1]]


def _add_product_(base: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
    """Do as `_add_product`, into `base`."""
    if base.shape[1] == 1:
        return _add_product(base, rows, weight)
    return base.baddbmm_(rows, weight.expand(len(rows), -1, -1))


def _twice(rows: Tensor) -> Tensor:
    # A single row is a vector to BLAS, which then sums in another order than in a batch.
    return rows.expand(-1, 2, -1) if rows.shape[1] == 1 else rows
