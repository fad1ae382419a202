"""One clip, one adapter: the answers, and the marks that they get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundstream.models.base import Grounder, Query
from groundstream.models.temporal.base import TemporalAdapter
from groundstream.pipeline.evaluation.scores import ScoreEMA
from groundstream.models.adaptation.clips import Clip, Motion
from groundstream.pipeline.evaluation.metrics import (
    Hits,
    appearance_lags,
    count_ghosts,
    flicker,
    judge,
    track_scores,
)
from groundstream.models.adaptation.spoil import Spoiled
from groundstream.models.types import ImageFeatures, RawDetections

CLEAN = "clean"


@dataclass(frozen=True, eq=False)
class Variant:
    """What is compared: an adapter on the features, or smoothing of the answers, or neither.

    Attributes:
        name: its row in the table.
        adapter: None leaves the features as they are.
        smoothing: None leaves the answers as they are.
    """

    name: str
    adapter: TemporalAdapter | None = None
    smoothing: ScoreEMA | None = None


@dataclass(frozen=True, eq=False)
class Marks:
    """What one clip shows of one variant.

    Attributes:
        clip: number of the clip; spoiled versions of one clip share it.
        kind: the corruption, or "clean".
        motion: how fast its objects move.
        known, held_out: judged candidates of the spoiled frames (of all frames of a clean clip), for the
            classes that adapter training asked for and for the others.
        ghosts: reported boxes that show what has left, and all reported boxes.
        flicker: sum of score changes, and number of changes.
        lags_s: seconds until things that appear are reported.
    """

    clip: int
    kind: str
    motion: Motion
    known: Hits
    held_out: Hits
    ghosts: tuple[int, int]
    flicker: tuple[float, int]
    lags_s: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of every frame: `query` for `classes`, of which `held_out` are judged apart."""

    query: Query
    classes: tuple[int, ...]
    held_out: frozenset[int]
    floor: float


@torch.inference_mode()
def answer(
    grounder: Grounder, variant: Variant, features: ImageFeatures, times_s: NDArray[np.float64], asked: Asked
) -> list[RawDetections]:
    """Return a variant's candidates for each frame of a clip, which begins without memory.

    Args:
        grounder: frozen.
        variant: what corrects features or answers.
        features: of the T frames.
        times_s: (T,) seconds.
        asked: phrases and floor.
    """
    if variant.adapter is not None:
        features = _correct(variant.adapter, grounder, features, times_s)
    answers = grounder.ground_queries(features, [asked.query] * len(times_s), asked.floor)
    return answers if variant.smoothing is None else _smooth(variant.smoothing, answers, times_s)


def _correct(
    adapter: TemporalAdapter, grounder: Grounder, features: ImageFeatures, times_s: NDArray[np.float64]
) -> ImageFeatures:
    touched = len(features.levels) if grounder.features.levels is None else grounder.features.levels
    memory = adapter.empty([level[:1] for level in features.levels[:touched]])
    write = torch.ones(1, dtype=torch.bool, device=grounder.device)
    steps: list[list[Tensor]] = []
    for number in range(len(times_s)):
        dt_s = torch.tensor([times_s[number] - times_s[max(number - 1, 0)]], dtype=torch.float32)
        levels = [level[number : number + 1] for level in features.levels[:touched]]
        keep = write & (number > 0)
        shown, memory = adapter.step(levels, memory, dt_s.to(grounder.device), keep, write)
        steps.append(shown)
    corrected = [torch.cat(parts) for parts in zip(*steps, strict=True)]
    return ImageFeatures((*corrected, *features.levels[touched:]), features.content_px, features.canvas_px)


def _smooth(
    smoothing: ScoreEMA, answers: Sequence[RawDetections], times_s: NDArray[np.float64]
) -> list[RawDetections]:
    smoothed: list[RawDetections] = []
    for number, raw in enumerate(answers):
        before = smoothed[-1] if smoothed else None
        dt_s = float(times_s[number] - times_s[max(number - 1, 0)])
        smoothed.append(smoothing.step(raw, before, dt_s))
    return smoothed


def mark(
    number: int, shown: Clip | Spoiled, answers: Sequence[RawDetections], asked: Asked, score: float
) -> Marks:
    """Judge a variant's answers to a clean or a spoiled clip.

    Args:
        number: of the clip.
        shown: what the model saw.
        answers: per frame.
        asked: phrases and classes.
        score: boxes are reported from this score on.
    """
    clip = shown if isinstance(shown, Clip) else shown.clip
    hit = np.ones(len(clip.frames), bool) if isinstance(shown, Clip) else shown.hit
    known: list[Hits] = []
    held_out: list[Hits] = []
    for raw, truth, counts in zip(answers, clip.truth, hit, strict=True):
        if counts:
            for apart, hits in ((False, known), (True, held_out)):
                columns = [c for c, number in enumerate(asked.classes) if (number in asked.held_out) == apart]
                part = RawDetections(raw.boxes_model, raw.phrase_scores[:, columns])
                hits.append(judge(part, truth, [asked.classes[column] for column in columns]))
    lines = track_scores(answers, clip.truth, asked.classes).values()
    return Marks(
        number,
        CLEAN if isinstance(shown, Clip) else shown.kind,
        clip.motion,
        Hits.join(known),
        Hits.join(held_out),
        count_ghosts(answers, clip.truth, clip.times_s, asked.classes, score),
        flicker(lines),
        tuple(appearance_lags(lines, clip.times_s, score)),
    )
