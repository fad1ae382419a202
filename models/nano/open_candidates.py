"""The open branch at work on one picture: what it finds, and what it doubts of the frozen names' finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from groundstream.models.nano.head import NanoHead
from groundstream.models.nano.open_branch import OpenBranch
from groundstream.models.nano.open_head import Proposals
from groundstream.models.nano.postprocess import Candidates
from groundstream.models.nano.rows import Meanings
from groundstream.models.postprocess import iou_matrix, suppress_per_phrase

#: a proposal that covers the frozen network's own box of a class this well is that thing.
SAME_IOU = 0.5
#: less sure than this, the frozen network says nothing about a proposal.
LEAST_SURE = 0.05
#: how many classes, the surest, can speak against a concept.
SURE_CLASSES = 6
#: a frozen find is doubted from this probability of another concept on, most from the second on; ...
FIRST_DOUBT, WHOLE_DOUBT = 0.5, 0.9
#: ... and loses at most so much of its log odds: the frozen names know more of real footage.
LARGEST_DOUBT = 1.0
#: so many finds are looked at again, the strongest.
MOST_DOUBTED = 40
#: of two boxes of one phrase that overlap more than this, the weaker one goes.
SAME_THING_IOU = 0.45
TINY = 1e-6


class Scene(NamedTuple):
    """The features of one picture.

    `regions` per level (N_l, 128) float32 frozen region features; `maps` (1, reduced, H, W) each, from
    `OpenHead.reduce_maps`; `content_px` height and width of the picture on the canvas of `canvas_px`.
    """

    regions: Sequence[Tensor]
    maps: Sequence[Tensor]
    content_px: tuple[int, int]
    canvas_px: tuple[int, int]

    def widths(self, strides_px: Sequence[int]) -> tuple[int, ...]:
        """Return the cells per row of each level."""
        return tuple(self.canvas_px[1] // stride for stride in strides_px)


def find_open(branch: OpenBranch, frozen: NanoHead, scene: Scene, meanings: Meanings) -> Candidates:
    """Propose boxes, name them, and score each phrase: is it a thing, and one of those that the phrase means.

    Args:
        branch: the open branch.
        frozen: the frozen head; where it is sure of a class, no concept is found that is not of the class.
        scene: the picture's features.
        meanings: what the phrases mean.
    """
    boxes, chances = concept_chances(branch, frozen, scene)
    wanted = meanings.meant.T  # (C, P)
    chance = chances @ wanted
    bias = chances @ (branch.bias[:, None] * wanted) / chance.clamp(min=TINY)
    scale, meant = branch.scale, meanings.meant.sum(1)
    known_shift = scale.known_shift - scale.per_concept * meant.clamp(min=1).log()
    shift = torch.where(meanings.known, known_shift, scale.shift)
    odds = chance.clamp(TINY, 1 - TINY).logit() + bias
    return Candidates(boxes, (odds + shift).sigmoid() * (meant > 0))


def concept_chances(branch: OpenBranch, frozen: NanoHead, scene: Scene) -> tuple[Tensor, Tensor]:
    """Return (K, 4) boxes and the (K, C) probabilities that each is a thing, and of each concept."""
    proposals = branch.head.propose(scene.regions, scene.widths(frozen.strides_px), scene.content_px)
    named = branch.head(scene.maps, proposals.boxes, scene.canvas_px)
    sure = known_classes(frozen, scene, proposals)  # (K, 80)
    chances = proposals.scores[:, None] * named.concepts[:, :-1]
    (rows,) = torch.nonzero(sure.amax(1) > LEAST_SURE, as_tuple=True)
    # (k, C): the surest class that a concept is not of; the frozen network is sure of few at a time.
    best = sure[rows].topk(min(SURE_CLASSES, sure.shape[1]), dim=1)
    foreign = 1 - branch.alike.T[best.indices]  # (k, 6, C)
    chances[rows] *= 1 - (best.values[..., None] * foreign).amax(1)
    return named.boxes, chances


def known_classes(frozen: NanoHead, scene: Scene, proposals: Proposals) -> Tensor:
    """Return (K, 80) how sure the frozen network is that each proposal is of each class, 0..1.

    Counted is what it says in the proposal's own cell, where its own box there is about the same.
    """
    sure = proposals.boxes.new_zeros(len(proposals.boxes), frozen.names.shape[1])
    start = 0
    for level, (region, width) in enumerate(zip(scene.regions, scene.widths(frozen.strides_px), strict=True)):
        inside = (proposals.cells >= start) & (proposals.cells < start + len(region))
        (here,) = torch.nonzero(inside, as_tuple=True)
        cells = proposals.cells[here] - start
        features = region[cells]
        scores = (features @ frozen.names[level].T + frozen.names_bias[level]).sigmoid()
        own = frozen.boxes(level, features, cells, width)
        same = iou_matrix(own, proposals.boxes[here]).diagonal() >= SAME_IOU
        sure[here] = scores * same[:, None]
        start += len(region)
    return sure


def doubt(branch: OpenBranch, scene: Scene, found: Candidates, meanings: Meanings) -> Candidates:
    """Lower what the frozen names found where the open branch sees something else there: a cone is no person.

    Only finds of phrases that the branch has a gate for are doubted.
    """
    best = found.scores.amax(1).topk(min(MOST_DOUBTED, len(found.scores))).indices
    named = branch.head(scene.maps, found.boxes[best], scene.canvas_px).concepts
    other = (named[:, None, :-1] * (1 - meanings.fine)).amax(
        2
    )  # (K, P): the likeliest concept that does not fit
    part = ((other - FIRST_DOUBT) / (WHOLE_DOUBT - FIRST_DOUBT)).clamp(0, 1)
    loss = -LARGEST_DOUBT * part * meanings.gates.any(1)
    before = found.scores[best]
    lowered = (before.clamp(TINY, 1 - TINY).logit() + loss).sigmoid()
    scores = found.scores.clone()
    scores[best] = torch.where((before > 0) & (loss < 0), lowered, before)
    return Candidates(found.boxes, scores)


def join_candidates(frozen: Candidates, opened: Candidates, floor: float) -> Candidates:
    """Put both sides' candidates below each other; of two that are one thing, the stronger one stays.

    What the frozen names found is not suppressed again among itself. What scores below `floor` goes.
    """
    alive = (opened.scores >= floor).any(1)
    boxes, scores = opened.boxes[alive], opened.scores[alive]
    active = (scores >= floor).any(0)
    own = torch.zeros_like(scores)
    own[:, active] = suppress_per_phrase(boxes, scores[:, active], SAME_THING_IOU, floor)
    same = (iou_matrix(frozen.boxes, boxes) > SAME_THING_IOU)[..., None]  # (N, M, 1)
    own = own * ~(same & (frozen.scores[:, None] >= own)).any(0)
    kept = frozen.scores * ~(same & (own > frozen.scores[:, None])).any(1)
    all_boxes, all_scores = torch.cat((frozen.boxes, boxes)), torch.cat((kept, own))
    alive = (all_scores >= floor).any(1)
    return Candidates(all_boxes[alive], all_scores[alive])
