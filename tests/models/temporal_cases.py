"""Adapters with weights as after a training, and random feature maps to try them on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from groundstream.models.temporal.base import TemporalAdapter
from groundstream.models.temporal.baselines import FeatureEMA
from groundstream.models.temporal.cta import CTA, CTAConfig

#: like a pyramid whose coarsest level is a single cell.
SIZES = ((8, 12), (4, 6), (2, 3), (1, 1))
CHANNELS = (16,) * len(SIZES)


def trained(adapter: TemporalAdapter, seed: int = 0) -> TemporalAdapter:
    """Move every weight away from where it began, so that nothing is right by initialisation alone."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapter.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return adapter.eval().requires_grad_(False)


def cta(channels: tuple[int, ...] = CHANNELS, width: int = 8, **sizes: object) -> CTA:
    return CTA(CTAConfig(channels, width, **sizes))  # type: ignore[arg-type]


ADAPTERS: dict[str, Callable[[], TemporalAdapter]] = {
    "ema": FeatureEMA,
    "cta": cta,
    "one half-life": lambda: cta(half_lives_s=(4.0,)),
    "four half-lives": lambda: cta(half_lives_s=(0.25, 1.0, 4.0, 16.0), hidden=5),
    "as wide as the levels": lambda: cta(width=16, evidence_limit=32.0),
    "wider": lambda: cta(width=24),
}


def maps(count: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return one (count, 16, H, W) map per level."""
    generator = torch.Generator().manual_seed(seed)
    levels = [
        torch.randn(count, channels, *size, generator=generator)
        for channels, size in zip(CHANNELS, SIZES, strict=True)
    ]
    return [level.to(dtype) for level in levels]


def flags(*values: bool) -> Tensor:
    return torch.tensor(values)


def seconds(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def same(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether all maps are equal, to the bit."""
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


#: sums of at most 24 numbers of size 10 in float32, in another order, three layers deep; a mixed-up stream is
#: off by more than 0.1.
ROUNDING = 1e-5


def near(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether all maps are equal but for the order in which float32 sums were taken."""
    return all(torch.allclose(a, b, rtol=ROUNDING, atol=ROUNDING) for a, b in zip(first, second, strict=True))


def rows(levels: Sequence[Tensor], which: Sequence[int]) -> list[Tensor]:
    return [level[list(which)] for level in levels]
