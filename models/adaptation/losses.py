"""What an adapter is trained for: on a spoiled frame, say what the frozen model says of the clean one.

Stage A compares features and works for every grounder and on any footage. Stage B goes through the frozen
head of glip-nano: scores of the class names and box distances, region features, so that words which were
never asked stay where they were, and what the open branch finds and how it names that. Both count cells that
an object has just left, so that no ghosts stay; stage B also those to which one has just come, so that
nothing is found late.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from groundstream.models.adaptation.naming import HARM, Naming, before
from groundstream.models.common.device import fast_dtype
from groundstream.models.common.tensor_file import read_tensors
from groundstream.models.nano.config import COCO_NAMES, SHIPPED, NanoConfig
from groundstream.models.nano.network import NanoHead, NanoNetwork, split_levels
from groundstream.models.nano.open_branch import OpenBranch

#: cells where no asked class scores more than this, now or a frame ago, are left out of the score loss.
SILENT = 0.03
#: how much more an answer counts where something has just come or left: no ghosts, no late finds.
MOVED = 2.0
#: boxes are compared where the clean frame scores more than this.
LIKELY = 0.2
#: how much a cell counts in feature losses where nothing is.
BACKGROUND = 0.02


class Frames(NamedTuple):
    """Levels of B clips of T frames each, (B * T, C_l, H_l, W_l), clip by clip."""

    levels: list[Tensor]
    length: int


def feature_loss(student: Frames, teacher: Frames) -> Tensor:
    """Stage A: the distance of features, relative to how far the clean features lie from their mean.

    A cell counts by how much its clean features stand out, now or in the frame before (what has just left).
    """
    losses = []
    for mine, clean in zip(student.levels, teacher.levels, strict=True):
        apart = clean - clean.mean(dim=(2, 3), keepdim=True)
        stands_out = apart.square().mean(1)  # (B * T, H, W)
        weight = torch.maximum(stands_out, before(stands_out, teacher.length))
        error = (mine - clean).square().mean(1)
        losses.append((weight * error).sum() / (weight * stands_out).sum().clamp(min=1e-6))
    return torch.stack(losses).mean()


class Answers(NamedTuple):
    """What is said of a level: (F, N, 128) region features, (F, N, K) logits of the classes and (F, N, 5)
    what the open branch proposes.
    """

    regions: Tensor
    logits: Tensor
    things: Tensor


class HeadObjective:
    """Stage B: what glip-nano says of spoiled and clean frames, compared.

    Args:
        head: frozen, in the number format that is fast here.
        naming: the open branch.
        classes: numbers of the classes that are asked; the others stay unseen.
    """

    def __init__(self, head: NanoHead, naming: Naming, classes: Sequence[int]) -> None:
        self._head, self._naming, self._classes = head, naming, list(classes)
        self._dtype = next(head.regions.parameters()).dtype

    @classmethod
    def of_shipped(cls, hidden: Collection[str]) -> HeadObjective:
        """Return the objective of the glip-nano that ships, for all its class names but the hidden ones."""
        config, tensors = NanoConfig(), read_tensors(SHIPPED)
        head = NanoNetwork.from_tensors(tensors, config).head
        head.regions.to(fast_dtype(torch.device("cpu")))
        apart = [number for number, name in enumerate(COCO_NAMES) if name in hidden]
        asked = [number for number in range(len(COCO_NAMES)) if number not in apart]
        return cls(head, Naming(OpenBranch.from_tensors(tensors, config), apart), asked)

    def answers(self, levels: Sequence[Tensor]) -> list[Answers]:
        """Return the answers, per level."""
        regions = self._head.region_features(tuple(level.to(self._dtype) for level in levels))
        tables = zip(
            regions,
            self._head.names[:, self._classes],
            self._head.names_bias[:, self._classes],
            self._naming.things(regions),
            strict=True,
        )
        return [Answers(region, region @ names.T + bias, things) for region, names, bias, things in tables]

    def __call__(self, student: Frames, teacher: Frames, frozen: Frames) -> dict[str, Tensor]:
        """Return the losses of scores, boxes, regions and things, each per object that the clean frames show,
        and that of the names of boxes.

        Args:
            student: spoiled frames that the adapter has corrected: the levels of `NanoGrounder`, and its
                finest map at half its size.
            teacher: the clean frames.
            frozen: the spoiled frames as they are.
        """
        (necks, maps), (clean_necks, clean_maps), (plain_necks, plain_maps) = (
            _parts(frames) for frames in (student, teacher, frozen)
        )
        with torch.no_grad():
            wanted, plain = self.answers(clean_necks), self.answers(plain_necks)
        levels = zip(self.answers(necks), wanted, plain, strict=True)
        losses = [self._level(number, *three, teacher.length) for number, three in enumerate(levels)]
        shown = torch.stack([_shown(clean) for clean in wanted]).sum().clamp(min=10)
        parts = (torch.stack(part).sum() / shown for part in zip(*losses, strict=True))
        things = [clean.things for clean in wanted]
        named = self._naming(maps, clean_maps, plain_maps, things, teacher.length)
        return dict(zip(("scores", "boxes", "regions", "things", "names"), (*parts, named), strict=True))

    def _level(
        self, number: int, mine: Answers, clean: Answers, frozen: Answers, length: int
    ) -> tuple[Tensor, ...]:
        target, score = clean.logits.sigmoid(), mine.logits.sigmoid()
        best = target.amax(2)  # (F, N)
        moved = (before(best, length) - best).abs()  # something came, or left
        with torch.no_grad():
            asked = (torch.maximum(best, score.amax(2)) > SILENT) | (moved > SILENT)
            apart = (score - target).abs()[asked]
            harmed = apart > (frozen.logits.sigmoid() - target).abs()[asked]
            weight = apart * (1 + MOVED * moved[asked])[:, None] * (1 + HARM * harmed)
        scores = F.binary_cross_entropy_with_logits(
            mine.logits[asked], target[asked], weight, reduction="sum"
        )
        changed = (mine.regions - clean.regions).square().mean(2)
        regions = ((BACKGROUND + best + moved) * changed).sum()
        things = _things(mine.things[..., 0], clean.things[..., 0])
        return scores, self._boxes(number, mine.regions, clean.regions, best), regions, things

    def _boxes(self, number: int, mine: Tensor, clean: Tensor, best: Tensor) -> Tensor:
        """Kullback-Leibler divergence of the distances to the four sides, where there is something."""
        there = best > LIKELY
        distances = self._head.distances[number]
        wanted = distances(clean[there]).view(-1, 4, self._head.bins).log_softmax(-1)
        given = distances(mine[there]).view(-1, 4, self._head.bins).log_softmax(-1)
        apart = F.kl_div(given, wanted, reduction="none", log_target=True).sum((1, 2))
        return (apart * best[there]).sum()


def _shown(clean: Answers) -> Tensor:
    best = clean.logits.sigmoid().amax(2)
    return (best * (best > SILENT)).sum()


def _things(given: Tensor, clean: Tensor) -> Tensor:
    """Return the loss of the logits that a cell is a thing's."""
    target = clean.sigmoid()
    weight = (given.sigmoid() - target).abs().detach()
    return F.binary_cross_entropy_with_logits(given, target, weight, reduction="sum")


def _parts(frames: Frames) -> tuple[list[Tensor], list[Tensor]]:
    """Return the necks, and the maps that boxes are named on."""
    *levels, fine = frames.levels
    necks, reduced = split_levels(levels)
    return necks, [fine, *reduced]
