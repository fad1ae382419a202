"""Train the temporal adapter: `python -m groundstream.models.adaptation.fit --config recipe.toml`.

The backbone, the text encoder and the head stay frozen. Features of clean and spoiled clips are rendered
once; then clips are stepped through as a stream is, and gradients flow back over the whole clip. A training
that was cut off goes on where it was last saved.
"""

from __future__ import annotations

import argparse
import csv
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from groundstream.models.base import Grounder
from groundstream.models.nano.grounder import NanoGrounder
from groundstream.models.temporal.cta import CTA, CTAConfig
from groundstream.models.temporal.file import load_adapter, save_adapter
from training.scenes.bank import Bank
from groundstream.models.adaptation.batches import Batch, Batches
from groundstream.models.adaptation.clips import HELD_OUT, Clip, ClipGenerator, cut, read_video
from groundstream.models.adaptation.losses import Frames, HeadObjective, feature_loss
from groundstream.models.adaptation.features import FeatureFile, frozen_features
from groundstream.models.adaptation.render import Look, render
from groundstream.models.types import SizeRule

#: steps between lines of the log, and between saved states.
LOG_EVERY, SAVE_EVERY = 20, 200
#: a rise over 5 % of 20 steps is a rise over one step, which torch divides by zero for.
SHORTEST_SCHEDULE = 21
#: so many frames tell the spread of each channel; a channel that is always the same has this one.
SPREAD_FRAMES, TINY = 64, 1e-4
#: part of the innovation that an untrained adapter adds to the features.
START = 0.3
#: named losses of corrected frames, given the clean and the spoiled ones.
Objective = Callable[[Frames, Frames, Frames], dict[str, Tensor]]


@dataclass(frozen=True)
class AdapterRecipe:
    """What is trained, on what, and how long.

    Attributes:
        width, half_lives_s, evidence_limit: the form of the adapter, as in `CTAConfig`.
        stage: A compares features alone, B goes through the frozen head of glip-nano.
        scores, boxes, regions, things, names: weights of the losses of stage B.
        steps, clips: how many steps, of how many clips each.
        window: side of the trained window in cells of the coarsest level; 0 takes whole frames.
        lost: share of frames before which the memory is lost.
        rate: highest learning rate; it rises for the first 5 % of the steps and falls as a cosine.
        average: how fast the saved weights, a running mean, follow the trained ones.
        scenes: how many generated clips are rendered.
        versions: spoiled versions of each clip.
        real: share of batches from real footage, where there is any.
        real_frames, real_end_s: frames of its clips, and how much of each video is shown; what comes later
            is for measuring.
        seed: decides everything.
    """

    width: int = 64
    half_lives_s: tuple[float, ...] = (0.5, 8.0)
    evidence_limit: float = 8.0
    stage: Literal["A", "B"] = "B"
    scores: float = 2.0
    boxes: float = 0.25
    regions: float = 0.5
    things: float = 0.25
    names: float = 1.0
    steps: int = 1600
    clips: int = 4
    window: int = 6
    lost: float = 0.02
    rate: float = 3e-3
    average: float = 0.01
    scenes: int = 300
    versions: int = 3
    real: float = 0.25
    real_frames: int = 16
    real_end_s: float = 40.0
    seed: int = 0

    @classmethod
    def read(cls, path: Path) -> AdapterRecipe:
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

    def build(self, channels: Sequence[int]) -> CTA:
        """Return a fresh adapter for levels with so many channels."""
        adapter = CTA(
            CTAConfig(
                tuple(channels),
                self.width,
                half_lives_s=self.half_lives_s,
                evidence_limit=self.evidence_limit,
            )
        )
        # An output of 0 would hold back the gates' gradients: training starts a little beside the identity.
        for down, up in zip(adapter.down, adapter.up, strict=True):
            up.data.copy_(START * down.data[:, : self.width].T)
        return adapter


class Trainer:
    """Steps, average, log and state of one training.

    Args:
        adapter: what is trained, in float32.
        objective: named losses of spoiled frames that the adapter has seen, against clean ones.
        recipe: rates and weights.
        folder: holds `state.pt` and `log.csv`; a state that is there is taken up.
        units: what features are divided by for the adapter, see `units_of`.
    """

    def __init__(
        self,
        adapter: CTA,
        objective: Objective,
        recipe: AdapterRecipe,
        folder: Path,
        units: Sequence[Tensor],
    ) -> None:
        self.adapter, self.step, self._units = adapter, 0, units
        self._objective, self._recipe, self._folder = objective, recipe, folder
        names = ("scores", "boxes", "regions", "things", "names")
        self._weights: dict[str, float] = {name: getattr(recipe, name) for name in names} | {"features": 1.0}
        self._optimizer = torch.optim.AdamW(adapter.parameters(), lr=recipe.rate, weight_decay=1e-4)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, recipe.rate, max(recipe.steps, SHORTEST_SCHEDULE), pct_start=0.05
        )
        self._mean = {key: value.clone() for key, value in adapter.state_dict().items()}
        if (folder / "state.pt").is_file():
            self._resume()

    def run(self, draw: Callable[[], Batch], on_step: Callable[[int, float], None]) -> CTA:
        """Train to the end; return the adapter with the averaged weights, for features as they are."""
        self._folder.mkdir(parents=True, exist_ok=True)
        while self.step < self._recipe.steps:
            losses = self._one(draw())
            self.step += 1
            if self.step % LOG_EVERY == 0:
                self._log(losses)
            if self.step % SAVE_EVERY == 0:
                self._save()
            on_step(self.step, sum(losses.values()))
        self.adapter.load_state_dict(self._mean)
        return self.adapter.measured_in(self._units).eval()

    def _one(self, batch: Batch) -> dict[str, float]:
        student = Frames(correct(self.adapter, batch, self._units), batch.times_s.shape[1])
        teacher = Frames([level.flatten(0, 1) for level in batch.clean], student.length)
        frozen = Frames([level.flatten(0, 1) for level in batch.spoiled], student.length)
        losses = self._objective(student, teacher, frozen)
        total = torch.stack([self._weights[name] * value for name, value in losses.items()]).sum()
        self._optimizer.zero_grad()
        torch.autograd.backward(total)
        torch.nn.utils.clip_grad_norm_(self.adapter.parameters(), 1.0)
        self._optimizer.step()
        self._schedule.step()
        for key, value in self.adapter.state_dict().items():
            self._mean[key].lerp_(value, self._recipe.average)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _log(self, losses: dict[str, float]) -> None:
        path = self._folder / "log.csv"
        fresh = not path.exists()
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(("step", *losses))
            writer.writerow((self.step, *(f"{value:.5f}" for value in losses.values())))

    def _save(self) -> None:
        state = {
            "step": self.step,
            "adapter": self.adapter.state_dict(),
            "mean": self._mean,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        torch.save(state, self._folder / "state.part")
        (self._folder / "state.part").replace(self._folder / "state.pt")

    def _resume(self) -> None:
        state = torch.load(self._folder / "state.pt", weights_only=True)
        self.adapter.load_state_dict(state["adapter"])
        self._mean, self.step = state["mean"], state["step"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])


def correct(adapter: CTA, batch: Batch, units: Sequence[Tensor]) -> list[Tensor]:
    """Step through a batch; return (B * T, C_l, H_l, W_l) levels, corrected where the adapter has weights.

    Args:
        adapter: sees each channel divided by its unit.
        batch: spoiled clips.
        units: (C_l,) per level that is corrected, see `units_of`.
    """
    clips, length = batch.times_s.shape
    scales = [unit[:, None, None] for unit in units]
    adapted = [level / scale for level, scale in zip(batch.spoiled, scales, strict=False)]
    memory = adapter.empty([level[:, 0] for level in adapted])
    write = torch.ones(clips, dtype=torch.bool)
    steps = []
    for number in range(length):
        dt_s = batch.times_s[:, number] - batch.times_s[:, max(number - 1, 0)]
        levels = [level[:, number] for level in adapted]
        shown, memory = adapter.step(levels, memory, dt_s, batch.keep[:, number], write)
        steps.append(shown)
    corrected = [
        torch.stack(parts, 1) * scale for parts, scale in zip(zip(*steps, strict=True), scales, strict=True)
    ]
    return [level.flatten(0, 1) for level in (*corrected, *batch.spoiled[len(adapted) :])]


def units_of(file: FeatureFile, levels: int | None) -> list[Tensor]:
    """Return the spread (C_l,) of each channel of the first `levels` maps of a file, all for None.

    An adapter is trained on features that are divided by it: channels of the neck, and those of the open
    branch beside them, differ by a factor of nine, and one projection sees both.
    """
    rows = np.linspace(0, file.rows - 1, min(SPREAD_FRAMES, file.rows)).round().astype(int)
    spreads = (level.float().std((0, 2, 3)) for level in file.read(rows.tolist())[:levels])
    return [spread.clamp(min=TINY) for spread in spreads]


def stage_a(units: Sequence[Tensor]) -> Objective:
    """Features alone, in their units: all channels count alike."""

    def losses(student: Frames, teacher: Frames, frozen: Frames) -> dict[str, Tensor]:
        mine, clean = (
            Frames(
                [x / unit[:, None, None] for x, unit in zip(frames.levels, units, strict=False)],
                frames.length,
            )
            for frames in (student, teacher)
        )
        return {"features": feature_loss(mine, clean)}

    return losses


def stage_b() -> Objective:
    """What glip-nano says, for the classes that are not held out."""
    return HeadObjective.of_shipped(HELD_OUT)


def nano_levels(grounder: Grounder) -> Look:
    """Return what gives the maps that stage B compares: the levels, and the finest map at half its size.

    The adapter leaves the finest map alone; boxes are named on it too, and half of it is enough for that.
    """

    def look(frames: NDArray[np.uint8]) -> list[Tensor]:
        *levels, fine, _ = frozen_features(grounder, frames).levels
        return [*levels, F.avg_pool2d(fine, 2)]

    return look


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
    parser.add_argument("--bank", type=Path, required=True, help="sprites, see fetch_assets")
    parser.add_argument("--video", type=Path, nargs="*", default=[], help="real footage, unlabelled")
    parser.add_argument("--work", type=Path, required=True, help="folder for features, log and state")
    parser.add_argument("--config", type=Path, help="TOML file with attributes of AdapterRecipe")
    parser.add_argument("--start", type=Path, help="an adapter to go on from, of the same form")
    parser.add_argument("--out", type=Path, required=True, help="the adapter")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    recipe = AdapterRecipe.read(options.config) if options.config else AdapterRecipe()
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


def _features(
    grounder: NanoGrounder, options: argparse.Namespace, recipe: AdapterRecipe
) -> list[FeatureFile]:
    look = nano_levels(grounder)
    generate = ClipGenerator(Bank.open(options.bank), "train", recipe.seed)
    generated = (generate(number) for number in range(recipe.scenes))
    files = [render(options.work / "generated", generated, look, recipe.versions, recipe.seed)]
    if options.video:
        clips = real_clips(options.video, grounder.size_rule, recipe.real_frames, recipe.real_end_s)
        files.append(render(options.work / "real", clips, look, recipe.versions, recipe.seed))
    return files


if __name__ == "__main__":
    main()
