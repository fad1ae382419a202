"""Train the adapter that ships: `python -m training.temporal.train --bank BANK --config recipe.toml ...`.

Generated clips of many speeds, and real footage where there is any; the loop itself is that of
`groundstream adapt`, see `groundstream.models.adaptation.fit`.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from groundstream.models.adaptation.batches import Batches
from groundstream.models.adaptation.clips import Clip, cut, read_video
from groundstream.models.adaptation.features import FeatureFile, render
from groundstream.models.adaptation.fit import (
    AdapterRecipe,
    Trainer,
    nano_levels,
    stage_a,
    stage_b,
    units_of,
)
from groundstream.models.nano.grounder import NanoGrounder
from groundstream.models.temporal.file import load_adapter, save_adapter
from groundstream.models.types import SizeRule
from training.scenes.bank import Bank
from training.temporal.clips import ClipGenerator


@dataclass(frozen=True)
class TrainRecipe(AdapterRecipe):
    """What the shipped adapter is trained on, beside what `AdapterRecipe` says.

    Attributes:
        scenes: how many generated clips are rendered.
        real: share of batches from real footage, where there is any.
        real_frames, real_end_s: frames of its clips, and how much of each video is shown; what comes later
            is for measuring.
    """

    scenes: int = 300
    real: float = 0.25
    real_frames: int = 16
    real_end_s: float = 40.0

    @classmethod
    def read(cls, path: Path) -> TrainRecipe:
        """Read a TOML file with some of the attributes.

        Raises:
            ValueError: it is no TOML, or names an attribute that does not exist.
        """
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(cls)}
        if unknown := sorted(values.keys() - known):
            raise ValueError(f"{path}: unknown {', '.join(unknown)}; expected some of {sorted(known)}")
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**(values | lists))


def real_clips(paths: Sequence[Path], rule: SizeRule, length: int, end_s: float) -> list[Clip]:
    """Return the clips of videos up to `end_s`, at their own rate and at half of it, plain and mirrored."""
    clips: list[Clip] = []
    for path in paths:
        for every in (1, 2):
            frames, times_s = read_video(path, rule, end_s=end_s, every=every)
            clips += cut(f"{path.stem}-{every}", frames, times_s, length)
            mirrored = np.ascontiguousarray(frames[:, :, ::-1])
            clips += cut(f"{path.stem}-{every}-mirrored", mirrored, times_s, length)
    return clips


def main() -> None:
    """Render what is missing, train, write the adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=Path, required=True, help="sprites, see training.data.fetch")
    parser.add_argument("--video", type=Path, nargs="*", default=[], help="real footage, unlabelled")
    parser.add_argument("--work", type=Path, required=True, help="folder for features, log and state")
    parser.add_argument("--config", type=Path, help="TOML file with attributes of TrainRecipe")
    parser.add_argument("--start", type=Path, help="an adapter to go on from, of the same form")
    parser.add_argument("--out", type=Path, required=True, help="the adapter")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    recipe = TrainRecipe.read(options.config) if options.config else TrainRecipe()
    torch.manual_seed(recipe.seed)
    grounder = NanoGrounder.from_name("glip-nano")
    files = _features(grounder, options, recipe)
    shares = [1.0] if len(files) == 1 else [1 - recipe.real, recipe.real]
    rng = np.random.default_rng(recipe.seed)
    batches = Batches(files, shares, recipe.clips, recipe.window, recipe.lost, rng)
    units = units_of(files[0], grounder.features.levels)
    objective = stage_b() if recipe.stage == "B" else stage_a(units)
    adapter = recipe.build([len(unit) for unit in units])
    if options.start:
        adapter.load_state_dict(load_adapter(str(options.start), grounder).float().state_dict())
        adapter.measured_in([1 / unit for unit in units])
    trainer = Trainer(adapter, objective, recipe, options.work, units)
    print(asdict(recipe), sum(p.numel() for p in adapter.parameters()), "parameters", flush=True)
    trained = trainer.run(batches.draw, lambda step, loss: print(step, f"{loss:.4f}", flush=True))
    save_adapter(options.out, trained, grounder)


def _features(grounder: NanoGrounder, options: argparse.Namespace, recipe: TrainRecipe) -> list[FeatureFile]:
    extract = nano_levels(grounder)
    generate = ClipGenerator(Bank.open(options.bank), "train", recipe.seed)
    generated = (generate(number) for number in range(recipe.scenes))
    files = [render(options.work / "generated", generated, extract, recipe.versions, recipe.seed)]
    if options.video:
        clips = real_clips(options.video, grounder.size_rule, recipe.real_frames, recipe.real_end_s)
        files.append(render(options.work / "real", clips, extract, recipe.versions, recipe.seed))
    return files


if __name__ == "__main__":
    main()
