"""One clip, one variant (an adapter, smoothed answers, or neither): the answers, and the marks they get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import supervision as sv
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundstream.models.adaptation.clips import Clip, Motion
from groundstream.models.adaptation.spoil import Spoiled
from groundstream.models.base import Grounder, Query
from groundstream.models.temporal.base import TemporalAdapter
from groundstream.models.types import ImageFeatures, RawDetections
from groundstream.pipeline.evaluation.metrics import (
    Hits,
    appearance_lags,
    count_ghosts,
    flicker,
    judge,
    track_scores,
)

CLEAN = "clean"
#: boxes of two frames that overlap less are not the same thing to score smoothing.
LEAST_IOU = 0.3


@dataclass(frozen=True)
class ScoreEMA:
    """Smooths the scores of boxes that overlap from frame to frame; a lost box fades instead of vanishing.

    Without an earlier answer it changes nothing, as all adapters.

    Attributes:
        half_life_s: seconds in which the weight of what was seen before halves.
        floor: faded boxes below this score are dropped.
    """

    half_life_s: float = 0.2
    floor: float = 0.05

    def step(self, raw: RawDetections, before: RawDetections | None, dt_s: float) -> RawDetections:
        """Return the smoothed answer, which is also what the next frame's call takes as `before`.

        Args:
            raw: one frame's candidates, with the same phrases as `before`.
            before: what the last call returned; None at the first frame and after a reset.
            dt_s: seconds since then; below 0 counts as 0.
        """
        if before is None or not len(before.boxes_model):
            return raw
        weight = float(2.0 ** (-max(dt_s, 0.0) / self.half_life_s))
        new, old = _matches(raw.boxes_model, before.boxes_model)
        scores = raw.phrase_scores.copy()
        scores[new] += np.float32(weight) * (before.phrase_scores[old] - scores[new])
        faded = np.float32(weight) * before.phrase_scores
        lost = np.setdiff1d(np.flatnonzero(faded.max(1, initial=0.0) >= self.floor), old)
        boxes = np.concatenate([raw.boxes_model, before.boxes_model[lost]])
        table = np.concatenate([scores, faded[lost]])
        order = np.argsort(-table.max(1, initial=0.0), kind="stable")
        return RawDetections(boxes[order], table[order])


def _matches(new: NDArray[np.float32], old: NDArray[np.float32]) -> tuple[NDArray[np.int64], ...]:
    """Return the numbers of the boxes of both that overlap each other most, (K,) each."""
    overlap = sv.box_iou_batch(new, old)
    if not overlap.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows, best = np.arange(len(new)), overlap.argmax(1)
    mutual = (overlap.argmax(0)[best] == rows) & (overlap[rows, best] >= LEAST_IOU)
    return rows[mutual], best[mutual]


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
