"""Calibrates the open branch concept by concept: a bias for each, and the shift of all.

Fitted on scenes that names were not learnt on, where every answer is known, and on real photographs, where
the concepts that they may show are left out and every other one is certainly absent. A concept that sees
itself in kerbs and curtains gets a low bias, one that is too shy a high one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundstream.models.common.postprocess import iou_matrix
from groundstream.models.nano.network import NanoHead
from groundstream.models.nano.open_branch import OpenBranch
from groundstream.models.nano.open_candidates import TINY, Scene, concept_chances
from training.nano.cache import Frozen, Renderer
from training.scenes.backgrounds import crop
from training.scenes.bank import Photograph
from training.scenes.generator import CLEAR, SceneConfig, SceneSample

#: a box shows a thing from this overlap on, and may show it above the second.
RIGHT_IOU, OTHER_IOU = 0.5, 0.2
#: of three phrases that are asked, two are absent, and these are about twenty times as often alike to what
#: is there ("fox" for a dog, the right thing in another colour) as a concept drawn by chance. Chosen so that
#: about half a box in 20 absent phrases is wrong.
ABSENT_PER_PRESENT = 40.0
#: a bias is worth its square times half of this many answers.
PRIOR = 2.0
LARGEST_BIAS = 4.0
STEPS = 40


class Known(NamedTuple):
    """What is known of concepts: their numbers by name, and `allowed_concepts` of the whole vocabulary."""

    numbers: Mapping[str, int]
    allowed: Mapping[str, Tensor]

    def hidden(self, contains: Sequence[str]) -> Tensor:
        """Return a (C,) mask of the concepts that a picture that may show `contains` may show."""
        masks = [self.allowed[name][:-1] for name in contains]
        return torch.stack(masks).any(0) if masks else torch.zeros(len(self.numbers), dtype=torch.bool)


class Answers(NamedTuple):
    """What the branch says of P pictures, as log odds before any shift.

    `present` (N,) of the best box of each thing that is there, `concepts` (N,) int64 which concept that is,
    `absent` (P, C) the strongest box of each concept that is not there, minus infinity where that is
    unknown.
    """

    present: Tensor
    concepts: Tensor
    absent: Tensor

    @classmethod
    def join(cls, parts: Iterable[Answers]) -> Answers:
        """Put the answers of several pictures below each other."""
        present, concepts, absent = zip(*parts, strict=True)
        return cls(torch.cat(present), torch.cat(concepts), torch.cat(absent))


def scene_chances(branch: OpenBranch, frozen: NanoHead, scene: Scene) -> tuple[Tensor, Tensor]:
    """Return (K, 4) boxes and the (K, C) probabilities that each is a thing, and of each concept."""
    proposals = branch.head.propose(scene.regions, scene.widths(frozen.strides_px), scene.content_px)
    named = branch.head(scene.maps, proposals.boxes, scene.canvas_px)
    everything = torch.arange(len(branch.alike))
    return named.boxes, concept_chances(branch, frozen, proposals, named, everything)


def answers_of_scene(
    branch: OpenBranch, frozen: NanoHead, scene: Scene, sample: SceneSample, known: Known
) -> Answers:
    """Return what the branch says of a generated scene."""
    boxes, chances = scene_chances(branch, frozen, scene)
    odds = _odds(chances)
    absent = odds.clone()
    overlap = iou_matrix(boxes, torch.from_numpy(sample.boxes))
    present, concepts = [], []
    for thing, shown in enumerate(sample.objects):
        number = known.numbers[shown.concept]
        fine = known.allowed[shown.concept][:-1]
        absent[(overlap[:, thing] > OTHER_IOU)[:, None] & fine] = -torch.inf
        right = overlap[:, thing] >= RIGHT_IOU
        if sample.visibility[thing] >= CLEAR and bool(right.any()):
            present.append(odds[right, number].max())
            concepts.append(number)
    return Answers(
        torch.stack(present) if present else odds.new_zeros(0),
        torch.tensor(concepts, dtype=torch.int64),
        _strongest(absent, known.hidden(sample.background)),
    )


def answers_of_photograph(
    branch: OpenBranch, frozen: NanoHead, scene: Scene, contains: Sequence[str], known: Known
) -> Answers:
    """Return what the branch says of a photograph that may show the concepts `contains`."""
    odds = _odds(scene_chances(branch, frozen, scene)[1])
    return Answers(
        odds.new_zeros(0), torch.zeros(0, dtype=torch.int64), _strongest(odds, known.hidden(contains))
    )


def fit_biases(scenes: Answers, photographs: Answers, prior: float = PRIOR) -> tuple[float, Tensor]:
    """Return the shift of all concepts and the (C,) bias of each, by maximum a posteriori.

    The likelihood is that of a logistic regression with an intercept per concept: things that are there are
    found, the strongest wrong boxes are not. Absent answers weigh `ABSENT_PER_PRESENT` times as much as
    those that are present, half of it for scenes and half for photographs; a concept's bias is drawn
    towards 0 by `prior`.
    """
    concepts = scenes.absent.shape[1]
    counts = torch.bincount(scenes.concepts, minlength=concepts).float()
    mean = counts.sum() / concepts
    # Every concept counts as often as the mean one, so that the rare ones are no worse calibrated.
    weight = (mean / counts.clamp(min=1))[scenes.concepts]
    groups = [(scenes.absent, 0.5), (photographs.absent, 0.5)]
    shift, bias = torch.zeros(1), torch.zeros(concepts)
    for step in range(STEPS):
        total = shift + bias
        found = (scenes.present + total[scenes.concepts]).sigmoid()
        slope = torch.zeros(concepts).index_add_(0, scenes.concepts, weight * (1 - found))
        curve = torch.zeros(concepts).index_add_(0, scenes.concepts, weight * found * (1 - found))
        for absent, part in groups:
            known = absent > -torch.inf
            share = part * ABSENT_PER_PRESENT * mean / known.sum(0).clamp(min=1)
            wrong = (absent + total).sigmoid() * known
            slope -= share * wrong.sum(0)
            curve += share * (wrong * (1 - wrong)).sum(0)
        shift += (slope.sum() / (curve.sum() + 1e-6)).clamp(-1, 1)
        if step >= STEPS // 4:  # the shift first
            bias += ((slope - prior * bias) / (curve + prior)).clamp(-1, 1)
            bias.clamp_(-LARGEST_BIAS, LARGEST_BIAS)
    return float(shift), bias


@torch.inference_mode()
def scene_answers(renderer: Renderer, branch: OpenBranch, known: Known, start: int, count: int) -> Answers:
    """Return what the branch says of the scenes `start` to `start + count`."""
    parts = []
    for samples, stages, regions in renderer.batches(start, count):
        maps = branch.head.reduce_maps(stages)
        for row, sample in enumerate(samples):
            scene = _scene(maps, regions, row, sample.picture)
            parts.append(answers_of_scene(branch, renderer.frozen.head, scene, sample, known))
    return Answers.join(parts)


@torch.inference_mode()
def photograph_answers(
    frozen: Frozen,
    branch: OpenBranch,
    known: Known,
    photographs: Sequence[Photograph],
    each: int,
    seed: int,
) -> Answers:
    """Return what the branch says of `each` crops of every photograph.

    Raises:
        ValueError: there are no photographs.
    """
    if not photographs:
        raise ValueError(
            "the bank has no photographs to calibrate on; make it again with `training.data.fetch`"
        )
    parts = []
    for picture, contains in crops(photographs, each, SceneConfig.width_px, seed):
        stages, regions = frozen(picture[None])
        scene = _scene(branch.head.reduce_maps(stages), regions, 0, picture)
        parts.append(answers_of_photograph(branch, frozen.head, scene, contains, known))
    return Answers.join(parts)


def _scene(maps: Sequence[Tensor], regions: Sequence[Tensor], row: int, picture: NDArray[np.uint8]) -> Scene:
    canvas = (picture.shape[0], picture.shape[1])
    return Scene([level[row] for level in regions], [part[row : row + 1] for part in maps], canvas, canvas)


def crops(
    photographs: Sequence[Photograph], each: int, side_px: int, seed: int
) -> Iterable[tuple[NDArray[np.uint8], tuple[str, ...]]]:
    """Yield `each` square crops of every photograph, and the concepts that may be seen in them."""
    rng = np.random.default_rng(seed)
    for photograph in photographs:
        for _ in range(each):
            yield crop(photograph.rgb, rng, side_px, side_px), photograph.contains


def _odds(chances: Tensor) -> Tensor:
    return chances.clamp(TINY, 1 - TINY).logit()


def _strongest(odds: Tensor, hidden: Tensor) -> Tensor:
    """Return (1, C) the largest of (K, C) odds; minus infinity for hidden concepts and without boxes."""
    best = torch.cat((odds, odds.new_full((1, odds.shape[1]), -torch.inf))).amax(0)
    return best.masked_fill(hidden, -torch.inf)[None]
