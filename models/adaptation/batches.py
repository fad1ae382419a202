"""Training batches: windows of clips, spoiled and clean, from files of frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from groundstream.models.adaptation.features import Entry, FeatureFile

Rng = np.random.Generator


class Batch(NamedTuple):
    """B clips of T frames.

    `spoiled` and `clean` hold one (B, T, C_l, H_l, W_l) float32 tensor per map of the file; `times_s` is
    (B, T) float32; `keep` is (B, T) bool, False where the memory is lost: at the first frame, and at random
    ones, as at a scene cut.
    """

    spoiled: list[Tensor]
    clean: list[Tensor]
    times_s: Tensor
    keep: Tensor


class Batches:
    """Draws batches; a batch comes from one file, because files differ in size.

    Args:
        files: at least one.
        shares: how often each file is drawn from, adding up to 1.
        clips: B.
        window: cells of the coarsest level that a side of the window has; 0 takes whole frames. Windows lie
            where features stand out, and cost a third of a frame or less.
        lost: share of frames before which the memory is lost.
    """

    def __init__(
        self,
        files: Sequence[FeatureFile],
        shares: Sequence[float],
        clips: int,
        window: int,
        lost: float,
        rng: Rng,
    ) -> None:
        if not files or len(files) != len(shares):
            raise ValueError(f"expected one share per file, but got {len(files)} files, {len(shares)} shares")
        self._files, self._shares = list(files), list(shares)
        self._clips, self._window, self._lost, self._rng = clips, window, lost, rng

    def draw(self) -> Batch:
        """Return a batch."""
        file = self._files[int(self._rng.choice(len(self._files), p=self._shares))]
        entries = [file.entries[int(n)] for n in self._rng.integers(len(file.entries), size=self._clips)]
        length = min(len(entry.times_s) for entry in entries)
        starts = [int(self._rng.integers(len(entry.times_s) - length + 1)) for entry in entries]
        pairs = list(zip(entries, starts, strict=True))
        spoiled = file.read([entry.start + at for entry, at in _frames(pairs, length)])
        clean = file.read([entry.clean[at] for entry, at in _frames(pairs, length)])
        shape = (self._clips, length)
        coarsest = min(clean, key=lambda level: level.shape[2])
        windows = self._choose(clean, coarsest, length)
        keep = torch.from_numpy(self._rng.random(shape) >= self._lost)
        keep[:, 0] = False
        times_s = [[entry.times_s[at] for at in range(start, start + length)] for entry, start in pairs]
        return Batch(
            [_cut(level.view(*shape, *level.shape[1:]), windows, coarsest).float() for level in spoiled],
            [_cut(level.view(*shape, *level.shape[1:]), windows, coarsest).float() for level in clean],
            torch.tensor(times_s, dtype=torch.float32),
            keep,
        )

    def _choose(self, clean: list[Tensor], coarsest: Tensor, length: int) -> list[tuple[int, int, int, int]]:
        """Return top, left, height and width of each clip's window, in cells of the coarsest level."""
        height, width = (int(side) for side in coarsest.shape[2:])
        whole = any(level.shape[2] % height or level.shape[3] % width for level in clean)
        if whole or not self._window:
            return [(0, 0, height, width)] * self._clips
        middle = coarsest[length // 2 :: length].float()  # (B, C, H, W)
        energy = (middle - middle.mean((2, 3), keepdim=True)).square().mean(1).flatten(1).square()
        side = (min(self._window, height), min(self._window, width))
        windows = []
        for share in energy.double().numpy():
            at = int(self._rng.choice(len(share), p=share / share.sum()))
            top = int(np.clip(at // width - self._rng.integers(side[0]), 0, height - side[0]))
            left = int(np.clip(at % width - self._rng.integers(side[1]), 0, width - side[1]))
            windows.append((top, left, *side))
        return windows


def _frames(pairs: Sequence[tuple[Entry, int]], length: int) -> list[tuple[Entry, int]]:
    return [(entry, start + number) for entry, start in pairs for number in range(length)]


def _cut(level: Tensor, windows: Sequence[tuple[int, int, int, int]], coarsest: Tensor) -> Tensor:
    """Cut each clip's window out of a (B, T, C, H, W) level."""
    if windows[0][2:] == tuple(coarsest.shape[2:]):
        return level
    times = level.shape[3] // coarsest.shape[2]
    parts = []
    for clip, (top, left, height, width) in zip(level, windows, strict=True):
        rows, columns = (
            slice(top * times, (top + height) * times),
            slice(left * times, (left + width) * times),
        )
        parts.append(clip[:, :, rows, columns])
    return torch.stack(parts)
