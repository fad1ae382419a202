"""`groundstream adapt`: a temporal adapter from one's own footage, without labels."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from groundstream.models.adaptation.batches import Batches
from groundstream.models.adaptation.clips import Clip, cut, read_video
from groundstream.models.adaptation.features import FeatureExtractor, adapted_levels, render
from groundstream.models.adaptation.fit import (
    AdapterRecipe,
    Objective,
    Trainer,
    nano_levels,
    stage_a,
    stage_b,
    units_of,
)
from groundstream.models.base import Grounder
from groundstream.models.errors import GroundstreamError
from groundstream.models.registry import load_grounder
from groundstream.models.temporal.cta import CTA
from groundstream.models.temporal.file import SHIPPED, load_adapter, save_adapter
from groundstream.models.types import Prompt
from groundstream.operators.errors import ConfigError, OutputError, Reason, SourceError
from groundstream.operators.utils.files import explain
from groundstream.pipeline.commands.evaluate import measure, one_thread, table_of
from groundstream.pipeline.evaluation.benchmark import Benchmark, Outcome
from groundstream.pipeline.evaluation.measure import Variant

#: frames of a clip; at most so many clips are used, spread over the footage.
CLIP_FRAMES, MOST_CLIPS = 12, 60
#: the last part of every video is kept for measuring, of which at most so many clips are used.
KEPT_BACK, MOST_KEPT = 0.25, 12
#: fewer clips to train on than this say nothing.
LEAST_CLIPS = 4


class NoGain(GroundstreamError):  # noqa: N818 -- what happened is no error of anybody's
    """An adapter that was trained does not beat the frozen model on footage that it has not seen."""

    exit_code = 8


@dataclass(frozen=True)
class AdaptOptions:
    """What `adapt` does.

    Attributes:
        videos: footage, unlabelled; the last quarter of each is kept for measuring.
        out: the file that is written.
        model: whose features.
        phrases: what is asked when the gain is measured; the 80 class names where there are none.
        steps: of training.
        overwrite: whether an older file may be replaced.
    """

    videos: tuple[Path, ...]
    out: Path
    model: str = "glip-nano"
    phrases: tuple[str, ...] = ()
    steps: int = 300
    overwrite: bool = False


def adapt_command(options: AdaptOptions, console: Console) -> Outcome:
    """Train an adapter on footage; save it if it beats the frozen model on the part that was kept back.

    Raises:
        OutputError: the file exists, or cannot be written, or there is no room for the features.
        SourceError: a video cannot be read, or all of them together are too short.
        ModelError: the model cannot be had, or has no features for an adapter.
        NoGain: the adapter is no better than the frozen model; nothing is saved.
    """
    _check(options)
    one_thread()
    grounder = load_grounder(options.model, device="cpu")
    load_adapter("ema", grounder)  # says so where a model has no features for an adapter
    bench = Benchmark.of_classes(grounder)
    if options.phrases:
        bench = replace(bench, prompt=Prompt.of(options.phrases))
    training, kept = _footage(options.videos, grounder)
    adapter = _train(grounder, training, options, console)
    outcome = _judge(bench, kept, adapter, console)
    gain = outcome.gains()["adapted"]
    console.print(table_of("footage that was kept back", outcome))
    if np.isnan(gain[0]):
        raise NoGain(
            "the adapter is not saved: the model is sure of nothing in the footage kept back, so no gain can "
            "be measured; give footage with things in it, or name them with --phrase"
        )
    if gain[0] <= 0:
        raise NoGain(
            f"the adapter is not saved: on footage kept back it changes AP50 on spoiled frames by "
            f"{gain[0]:+.2f} against frame by frame; give more footage, or more --steps"
        )
    try:
        save_adapter(options.out, adapter, grounder)
    except OSError as error:
        raise OutputError(f"cannot write {options.out}: {explain(error)}; choose another --out") from None
    console.print(
        f"{options.out}: {gain[0]:+.2f} AP50 on spoiled frames; use it with --adapter {options.out}",
        soft_wrap=True,
    )
    return outcome


def _check(options: AdaptOptions) -> None:
    if options.out.exists() and not options.overwrite:
        raise OutputError(f"{options.out} exists already; choose another place or add --overwrite")
    if not options.out.absolute().parent.is_dir():
        raise OutputError(f"the folder of {options.out} does not exist; make it, or choose another --out")
    if options.steps < 1:
        raise ConfigError(f"expected at least one step, but got --steps {options.steps}")


def _footage(videos: Sequence[Path], grounder: Grounder) -> tuple[list[Clip], list[list[Clip]]]:
    """Return clips to train on, and per video clips to measure on, from its end."""
    training: list[Clip] = []
    kept: list[list[Clip]] = []
    for path in videos:
        if not path.is_file():
            raise SourceError(f"{path} does not exist; give video files", Reason.NOT_FOUND)
        try:
            frames, times_s = read_video(path, grounder.size_rule)
        except ValueError as error:
            raise SourceError(str(error), Reason.INVALID) from None
        clips = list(cut(path.stem, frames, times_s, CLIP_FRAMES))
        split = len(clips) - max(1, round(KEPT_BACK * len(clips)))
        training += clips[:split]
        kept.append(clips[split:])
    if len(training) < LEAST_CLIPS:
        seconds = LEAST_CLIPS * CLIP_FRAMES / (1 - KEPT_BACK)
        raise SourceError(
            f"too little footage: {len(training)} clips of {CLIP_FRAMES} frames; give at least "
            f"{seconds:.0f} frames, better several minutes",
            Reason.OTHER,
        )
    chosen = np.linspace(0, len(training) - 1, min(MOST_CLIPS, len(training))).round().astype(int)
    return [training[row] for row in chosen], kept


def _train(grounder: Grounder, clips: Sequence[Clip], options: AdaptOptions, console: Console) -> CTA:
    recipe = AdapterRecipe(steps=options.steps, rate=1e-3)
    torch.manual_seed(recipe.seed)
    with tempfile.TemporaryDirectory(prefix="groundstream-adapt-") as name, Progress(console=console) as bar:
        task = bar.add_task("features", total=len(clips))
        shown = (bar.update(task, advance=1) or clip for clip in clips)  # type: ignore[func-returns-value]
        try:
            file = render(Path(name) / "footage", shown, _extractor(grounder), recipe.versions, recipe.seed)
        except OSError as error:
            raise OutputError(
                f"cannot keep the features of the footage in {tempfile.gettempdir()}: {explain(error)}; they "
                "take up to 5 GB: make room, or set TMPDIR to another folder"
            ) from None
        rng = np.random.default_rng(recipe.seed)
        batches = Batches([file], [1.0], recipe.clips, recipe.window, recipe.lost, rng)
        units = units_of(file, grounder.features.levels)
        adapter, objective = _start(grounder, recipe, units)
        trainer = Trainer(adapter, objective, recipe, Path(name) / "training", units)
        task = bar.add_task("training", total=recipe.steps)
        return trainer.run(batches.draw, lambda step, loss: bar.update(task, completed=step))


def _extractor(grounder: Grounder) -> FeatureExtractor:
    return nano_levels(grounder) if grounder.info.family == "nano" else adapted_levels(grounder)


def _start(grounder: Grounder, recipe: AdapterRecipe, units: Sequence[Tensor]) -> tuple[CTA, Objective]:
    """Return what training starts from: the adapter that ships, where there is one for the model."""
    fresh = recipe.build([len(unit) for unit in units])
    if grounder.info.family != "nano":
        return fresh, stage_a(units)
    shipped = load_adapter("cta", grounder) if SHIPPED["nano"].is_file() else None
    if isinstance(shipped, CTA):
        fresh = shipped.float().requires_grad_(True).measured_in([1 / unit for unit in units])
    return fresh, stage_b()


def _judge(bench: Benchmark, kept: Sequence[Sequence[Clip]], adapter: CTA, console: Console) -> Outcome:
    """Compare with frame by frame, on clips that were kept back; half of the corruptions are new too."""
    rows = list(chain.from_iterable(kept))
    chosen = np.linspace(0, len(rows) - 1, min(MOST_KEPT, len(rows))).round().astype(int)
    ready = copy.deepcopy(adapter).prepare(bench.grounder.device, bench.grounder.dtype)
    variants = [Variant("none"), Variant("adapted", ready)]
    clips = bench.with_truth(rows[row] for row in chosen)
    return measure(bench, clips, variants, len(chosen), console)
