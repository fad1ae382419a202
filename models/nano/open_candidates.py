"""The open branch at work on one picture: what it finds, and what it doubts of the frozen names' finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from groundstream.models.common.postprocess import iou_matrix, suppress_per_phrase
from groundstream.models.nano.network import NanoHead
from groundstream.models.nano.open_branch import OpenBranch
from groundstream.models.nano.open_head import Named, Proposals
from groundstream.models.nano.postprocess import Candidates
from groundstream.models.nano.rows import Meanings

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


def look_again(
    branch: OpenBranch, frozen: NanoHead, scene: Scene, found: Candidates, meanings: Meanings
) -> tuple[Candidates, Candidates]:
    """Return what the frozen names found, doubted, and what the open branch finds; all is named in one pass.

    Args:
        branch: the open branch.
        frozen: the frozen head.
        scene: the picture's features.
        found: what the frozen names found.
        meanings: what the phrases mean.
    """
    proposals = branch.head.propose(scene.regions, scene.widths(frozen.strides_px), scene.content_px)
    rows = doubtful_rows(found, meanings)
    count = len(proposals.boxes)
    named = branch.head(scene.maps, torch.cat((proposals.boxes, found.boxes[rows])), scene.canvas_px)
    mine = Named(named.boxes[:count], named.concepts[:count])
    return (
        doubt(found, rows, named.concepts[count:], meanings),
        find_open(branch, frozen, proposals, mine, meanings),
    )


def find_open(
    branch: OpenBranch, frozen: NanoHead, proposals: Proposals, named: Named, meanings: Meanings
) -> Candidates:
    """Score each phrase on proposals: is it a thing, and one of those that the phrase means?

    Args:
        branch: the open branch.
        frozen: the frozen head; where it is sure of a class, no concept is found that is not of the class.
        proposals: K boxes that look like things.
        named: what they look like.
        meanings: what the phrases mean.
    """
    (asked,) = torch.nonzero(meanings.meant.any(0), as_tuple=True)  # (A,) concepts; the others cost nothing
    wanted, count = meanings.meant[:, asked].T, meanings.meant.sum(1)  # (A, P), (P,)
    chances = concept_chances(branch, frozen, proposals, named, asked)
    chance = chances @ wanted
    bias = chances @ (branch.bias[asked, None] * wanted) / chance.clamp(min=TINY)
    scale = branch.scale
    known_shift = scale.known_shift - scale.per_concept * count.clamp(min=1).log()
    shift = torch.where(meanings.known, known_shift, scale.shift)
    odds = chance.clamp(TINY, 1 - TINY).logit() + bias
    return Candidates(named.boxes, (odds + shift).sigmoid() * (count > 0))


def concept_chances(
    branch: OpenBranch, frozen: NanoHead, proposals: Proposals, named: Named, asked: Tensor
) -> Tensor:
    """Return (K, A) the probability that each proposal is a thing, and of each concept.

    Args:
        branch: the open branch.
        frozen: the frozen head; where it is sure of a class, no concept is found that is not of the class.
        proposals: K boxes that look like things.
        named: what they look like.
        asked: (A,) int64 numbers of concepts.
    """
    chances = proposals.scores[:, None] * named.concepts[:, asked]
    sure = known_classes(frozen, proposals)  # (K, 80)
    (rows,) = torch.nonzero(sure.amax(1) > LEAST_SURE, as_tuple=True)
    # (k, A): the surest class that a concept is not of; the frozen network is sure of few at a time.
    best = sure[rows].topk(min(SURE_CLASSES, sure.shape[1]), dim=1)
    foreign = 1 - branch.alike[asked].T[best.indices]  # (k, 6, A)
    chances[rows] *= 1 - (best.values[..., None] * foreign).amax(1)
    return chances


def known_classes(frozen: NanoHead, proposals: Proposals) -> Tensor:
    """Return (K, 80) how sure the frozen network is that each proposal is of each class, 0..1.

    Counted is what it says in the proposal's own cell, where its own box there is about the same.
    """
    own = frozen.boxes(proposals.cells)
    same = iou_matrix(own, proposals.boxes).diagonal() >= SAME_IOU
    return frozen.class_scores(proposals.cells) * same[:, None]


def doubtful_rows(found: Candidates, meanings: Meanings) -> Tensor:
    """Return the rows of `found` that are looked at again: of phrases that the branch has a gate for."""
    (rows,) = torch.nonzero(((found.scores > 0) & meanings.gates.any(1)).any(1), as_tuple=True)
    if len(rows) <= MOST_DOUBTED:
        return rows
    return rows[found.scores[rows].amax(1).topk(MOST_DOUBTED).indices]


def doubt(found: Candidates, rows: Tensor, concepts: Tensor, meanings: Meanings) -> Candidates:
    """Lower what the frozen names found where the open branch sees something else there: a cone is no person.

    Args:
        found: what the frozen names found.
        rows: (K,) which of it is looked at again.
        concepts: (K, C + 1) what these look like.
        meanings: what the phrases mean.
    """
    before = found.scores[rows]
    pairs, phrases = torch.nonzero((before > 0) & meanings.gates.any(1), as_tuple=True)
    unfit = meanings.gates == 0  # (P, C)
    other = (concepts[pairs, :-1] * unfit[phrases]).amax(1)  # the likeliest concept that does not fit
    part = ((other - FIRST_DOUBT) / (WHOLE_DOUBT - FIRST_DOUBT)).clamp(0, 1)
    score = before[pairs, phrases]
    lowered = (score.clamp(TINY, 1 - TINY).logit() - LARGEST_DOUBT * part).sigmoid()
    scores = found.scores.clone()
    scores[rows[pairs], phrases] = torch.where(part > 0, lowered, score)
    return Candidates(found.boxes, scores)


def join_candidates(frozen: Candidates, opened: Candidates, floor: float) -> Candidates:
    """Put both sides' candidates below each other; of two that are one thing, the stronger one stays.

    What the frozen names found is not suppressed again among itself. What scores below `floor` goes.
    """
    (alive,) = torch.nonzero((opened.scores >= floor).any(1), as_tuple=True)
    all_boxes, all_scores = frozen
    if len(alive):
        boxes, scores = opened.boxes[alive], opened.scores[alive]
        active = (scores >= floor).any(0)
        own = torch.zeros_like(scores)
        own[:, active] = suppress_per_phrase(boxes, scores[:, active], SAME_THING_IOU, floor)
        same = (iou_matrix(frozen.boxes, boxes) > SAME_THING_IOU)[..., None]  # (N, M, 1)
        own = own * ~(same & (frozen.scores[:, None] >= own)).any(0)
        kept = frozen.scores * ~(same & (own > frozen.scores[:, None])).any(1)
        all_boxes, all_scores = torch.cat((frozen.boxes, boxes)), torch.cat((kept, own))
    (rows,) = torch.nonzero((all_scores >= floor).any(1), as_tuple=True)
    return Candidates(all_boxes[rows], all_scores[rows])
