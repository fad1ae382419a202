"""Clean and spoiled clips as an adapter meets them: the frozen features of their frames.

Backbone features do not depend on the adapter, so they are computed once: for fitting they are kept in a
mapped file, for an evaluation they live as long as their clip.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundstream.models.adaptation.clips import Clip
from groundstream.models.adaptation.spoil import KINDS, spoil
from groundstream.models.base import Grounder
from groundstream.models.types import ImageFeatures

#: pictures that go through the backbone together.
BATCH = 4
#: features of (T, H, W, 3) uint8 frames, (T, C_l, H_l, W_l) each.
FeatureExtractor = Callable[[NDArray[np.uint8]], Sequence[Tensor]]


@torch.inference_mode()
def frozen_features(grounder: Grounder, frames: NDArray[np.uint8]) -> ImageFeatures:
    """Return the features of (T, H, W, 3) uint8 RGB frames, all content, in the grounder's own format."""
    content = torch.tensor([frames.shape[1:3]]).expand(len(frames), -1)
    parts = [
        grounder.encode_image(torch.from_numpy(frames[start : start + BATCH]), content[start : start + BATCH])
        for start in range(0, len(frames), BATCH)
    ]
    levels = tuple(torch.cat(maps) for maps in zip(*(part.levels for part in parts), strict=True))
    return ImageFeatures(levels, content, parts[0].canvas_px)


def adapted_levels(grounder: Grounder) -> FeatureExtractor:
    """Return what gives the levels that an adapter of `grounder` works on."""
    return lambda frames: frozen_features(grounder, frames).levels[: grounder.features.levels]


@dataclass(frozen=True)
class Entry:
    """A sequence of frames in a `FeatureFile`.

    Attributes:
        name: what it is; "clean" rows of a clip are shared by its spoiled versions.
        start: first row.
        times_s: seconds, one per row.
        clean: for each row, the row of the clean frame that it shows.
        hit: for each row, whether it is spoiled.
    """

    name: str
    start: int
    times_s: tuple[float, ...]
    clean: tuple[int, ...]
    hit: tuple[bool, ...]


class FeatureFile:
    """Levels of many frames of one size, float16, in one mapped file with a table beside it.

    Args:
        stem: the files are `stem`.bin and `stem`.json.
        shapes: (C, H, W) of each level.
    """

    def __init__(self, stem: Path, shapes: Sequence[tuple[int, int, int]], entries: Sequence[Entry]) -> None:
        self.stem, self.shapes, self.entries = stem, tuple(shapes), list(entries)
        self._sizes = [int(np.prod(shape)) for shape in self.shapes]
        self._width = sum(self._sizes)
        path = stem.with_suffix(".bin")
        path.touch()
        self.rows = path.stat().st_size // (2 * self._width)

    @classmethod
    def open(cls, stem: Path) -> FeatureFile:
        """Open what `save` has written.

        Raises:
            ValueError: there is nothing.
        """
        table = stem.with_suffix(".json")
        if not table.is_file():
            raise ValueError(f"no features at {stem}; render them first")
        content = json.loads(table.read_text())
        entries = [
            Entry(e["name"], e["start"], tuple(e["times_s"]), tuple(e["clean"]), tuple(e["hit"]))
            for e in content["entries"]
        ]
        return cls(stem, [tuple(shape) for shape in content["shapes"]], entries)

    def append(self, levels: Sequence[Tensor]) -> int:
        """Write (T, C, H, W) levels; return the row of the first frame."""
        start = self.rows
        flat = torch.cat([level.flatten(1) for level in levels], 1).half()
        with self.stem.with_suffix(".bin").open("ab") as file:
            file.write(flat.numpy().tobytes())
        self.rows += len(flat)
        return start

    def save(self) -> None:
        """Write the table."""
        entries = [vars(entry) for entry in self.entries]
        self.stem.with_suffix(".json").write_text(json.dumps({"shapes": self.shapes, "entries": entries}))

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """Return the levels of `rows`, (R, C, H, W) float16 each."""
        every = np.memmap(self.stem.with_suffix(".bin"), np.float16, "r", shape=(self.rows, self._width))
        flat = torch.from_numpy(every[np.asarray(rows)])
        parts = torch.split(flat, self._sizes, 1)
        return [part.view(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)]


def render(
    stem: Path, clips: Iterable[Clip], extract: FeatureExtractor, versions: int, seed: int
) -> FeatureFile:
    """Return the features of `clips` and of spoiled versions of each, from the file if it is there.

    Args:
        stem: where the file is, or will be.
        clips: of one picture size.
        extract: what gives the features of frames.
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
        levels = extract(clip.frames)
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
            levels = extract(spoiled.clip.frames)
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
