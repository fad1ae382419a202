"""Frozen features of clean and spoiled clips, computed once and kept in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from groundstream.models.base import Grounder
from groundstream.models.adaptation.clips import Clip
from groundstream.models.adaptation.features import Entry, FeatureFile, frozen_features
from groundstream.models.adaptation.spoil import KINDS, spoil

#: features of (T, H, W, 3) uint8 frames, (T, C_l, H_l, W_l) each.
Look = Callable[[NDArray[np.uint8]], Sequence[Tensor]]


def adapted_levels(grounder: Grounder) -> Look:
    """Return what gives the levels that an adapter of `grounder` works on."""
    return lambda frames: frozen_features(grounder, frames).levels[: grounder.features.levels]


def render(stem: Path, clips: Iterable[Clip], look: Look, versions: int, seed: int) -> FeatureFile:
    """Return the features of `clips` and of spoiled versions of each, from the file if it is there.

    Args:
        stem: where the file is, or will be.
        clips: of one picture size.
        look: what gives the features of frames.
        versions: spoiled versions per clip, each of another kind that training may see.
        seed: decides kinds and corruptions.
    """
    if stem.with_suffix(".json").is_file():
        return FeatureFile.open(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".bin").unlink(missing_ok=True)
    rng = np.random.default_rng(seed)
    kinds = sorted(kind for kind, about in KINDS.items() if about.training)
    file: FeatureFile | None = None
    for clip in clips:
        levels = look(clip.frames)
        if file is None:
            file = FeatureFile(
                stem, [(level.shape[1], level.shape[2], level.shape[3]) for level in levels], []
            )
        first, length = file.append(levels), len(clip.frames)
        times_s = tuple(clip.times_s.tolist())
        file.entries.append(
            Entry(
                f"{clip.name} clean", first, times_s, tuple(range(first, first + length)), (False,) * length
            )
        )
        for kind in rng.choice(kinds, versions, replace=False):
            spoiled = spoil(clip, str(kind), seed)
            levels = look(spoiled.clip.frames)
            file.entries.append(
                Entry(
                    f"{clip.name} {kind}",
                    file.append(levels),
                    tuple(spoiled.clip.times_s.tolist()),
                    tuple((first + spoiled.source).tolist()),
                    tuple(spoiled.hit.tolist()),
                )
            )
    if file is None:
        raise ValueError("no clips to render; give longer video")
    file.save()
    return file
