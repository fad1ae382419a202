"""Fit a temporal adapter to a frozen grounder: the recipe, the training loop, and what it compares.

The backbone, the text encoder and the head stay frozen. Features of clean and spoiled clips are rendered
once; then clips are stepped through as a stream is, and gradients flow back over the whole clip. A training
that was cut off goes on where it was last saved.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from groundstream.models.adaptation.batches import Batch
from groundstream.models.adaptation.clips import HELD_OUT
from groundstream.models.adaptation.features import FeatureExtractor, FeatureFile, frozen_features
from groundstream.models.adaptation.losses import Frames, HeadObjective, feature_loss
from groundstream.models.base import Grounder
from groundstream.models.temporal.cta import CTA, CTAConfig

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
        versions: spoiled versions of each clip.
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
    versions: int = 3
    seed: int = 0

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


def nano_levels(grounder: Grounder) -> FeatureExtractor:
    """Return what gives the maps that stage B compares: the levels, and the finest map at half its size.

    The adapter leaves the finest map alone; boxes are named on it too, and half of it is enough for that.
    """

    def extract(frames: NDArray[np.uint8]) -> list[Tensor]:
        *levels, fine, _ = frozen_features(grounder, frames).levels
        return [*levels, F.avg_pool2d(fine, 2)]

    return extract
