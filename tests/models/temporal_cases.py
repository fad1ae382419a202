"""Adapters with weights as after a training, and random feature maps to try them on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from groundstream.models.temporal import CTA, CTAConfig
from groundstream.models.temporal_base import TemporalAdapter
from groundstream.models.temporal_baselines import FeatureEMA

#: like a pyramid whose coarsest level is a single cell.
SIZES = ((8, 12), (4, 6), (2, 3), (1, 1))
CHANNELS = (16,) * len(SIZES)


def trained(adapter: TemporalAdapter, seed: int = 0) -> TemporalAdapter:
    """Move every weight away from where it began, so that nothing is right by initialisation alone."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapter.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return adapter.eval().requires_grad_(False)


def cta(
    channels: tuple[int, ...] = CHANNELS, width: int = 8, radius: Sequence[int] = (), **parts: object
) -> CTA:
    return CTA(CTAConfig(channels, width, radius=tuple(radius), **parts))  # type: ignore[arg-type]


#: every part that an adapter may have, alone and together.
ADAPTERS: dict[str, Callable[[], TemporalAdapter]] = {
    "ema": FeatureEMA,
    "plain": lambda: cta(gates="none"),
    "one half-life": lambda: cta(half_lives_s=(4.0,)),
    "distance": cta,
    "mlp": lambda: cta(gates="mlp"),
    "scene": lambda: cta(gates="scene"),
    "shipped": lambda: cta(gates="scene", spread=True, shared=False, evidence_limit=8.0),
    "spread": lambda: cta(spread=True),
    "normalized": lambda: cta(normalize=True),
    "aligned": lambda: cta(radius=(2, 1, 1, 0)),
    "coarse only": lambda: cta(skip=1),
    "per level": lambda: cta(shared=False),
    "all": lambda: cta(radius=(2, 1, 1, 1), gates="mlp", spread=True, normalize=True, shared=False),
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


def rows(levels: Sequence[Tensor], which: Sequence[int]) -> list[Tensor]:
    return [level[list(which)] for level in levels]
