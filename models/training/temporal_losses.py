"""What an adapter is trained for: on a spoiled frame, say what the frozen model says of the clean one.

Stage A compares features and works for every grounder and on any footage. Stage B goes through the frozen
head of glip-nano: scores of the class names and box distances, and region features, so that words which were
never asked stay where they were. Both count cells that an object has just left, so that no ghosts stay;
stage B also those to which one has just come, so that nothing is found late.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from groundstream.models.device import fast_dtype
from groundstream.models.nano.config import NanoConfig
from groundstream.models.nano.head import NanoHead
from groundstream.models.nano.network import NanoNetwork
from groundstream.models.nano.store import SHIPPED, read_tensors

#: cells where no asked class scores more than this, now or a frame ago, are left out of the score loss.
SILENT = 0.03
#: how much more an answer counts that is worse than the frozen model's own answer to the spoiled frame.
HARM = 2.0
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
        weight = torch.maximum(stands_out, _before(stands_out, teacher.length))
        error = (mine - clean).square().mean(1)
        losses.append((weight * error).sum() / (weight * stands_out).sum().clamp(min=1e-6))
    return torch.stack(losses).mean()


class Answers(NamedTuple):
    """What the frozen head says of a level: (F, N, 128) region features, (F, N, K) logits."""

    regions: Tensor
    logits: Tensor


def frozen_head() -> NanoHead:
    """Return the head of the glip-nano that ships, in the number format that is fast here."""
    network = NanoNetwork(NanoConfig())
    tensors = read_tensors(SHIPPED)
    network.load_state_dict({key: tensors[key].float() for key in network.state_dict()})
    head = network.head.eval().requires_grad_(False)
    head.regions.to(fast_dtype(torch.device("cpu")))
    return head


class HeadObjective:
    """Stage B: the frozen head's answers to spoiled and clean frames, compared.

    Args:
        head: of glip-nano, see `frozen_head`.
        classes: numbers of the classes that are asked; the others stay unseen.
    """

    def __init__(self, head: NanoHead, classes: Sequence[int]) -> None:
        self._head, self._classes = head, list(classes)
        self._dtype = next(head.regions.parameters()).dtype

    def answers(self, levels: Sequence[Tensor]) -> list[Answers]:
        """Return the head's answers, per level."""
        regions = self._head.region_features(tuple(level.to(self._dtype) for level in levels))
        tables = zip(
            regions,
            self._head.names[:, self._classes],
            self._head.names_bias[:, self._classes],
            strict=True,
        )
        return [Answers(region, region @ names.T + bias) for region, names, bias in tables]

    def __call__(self, student: Frames, teacher: Frames, frozen: Frames) -> tuple[Tensor, Tensor, Tensor]:
        """Return the score, box and region losses, each per object that the clean frames show.

        Args:
            student: spoiled frames that the adapter has corrected.
            teacher: the clean frames.
            frozen: the spoiled frames as they are.
        """
        with torch.no_grad():
            wanted, plain = self.answers(teacher.levels), self.answers(frozen.levels)
        levels = zip(self.answers(student.levels), wanted, plain, strict=True)
        losses = [self._level(number, *three, teacher.length) for number, three in enumerate(levels)]
        shown = torch.stack([_shown(clean) for clean in wanted]).sum().clamp(min=10)
        scores, boxes, regions = (torch.stack(parts).sum() / shown for parts in zip(*losses, strict=True))
        return scores, boxes, regions

    def _level(
        self, number: int, mine: Answers, clean: Answers, frozen: Answers, length: int
    ) -> tuple[Tensor, ...]:
        target, score = clean.logits.sigmoid(), mine.logits.sigmoid()
        best = target.amax(2)  # (F, N)
        moved = (_before(best, length) - best).abs()  # something came, or left
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
        return scores, self._boxes(number, mine.regions, clean.regions, best), regions

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


def _before(values: Tensor, length: int) -> Tensor:
    """Return (B * T, ...) values of the frame before in the same clip; the first frame's are its own."""
    clips = values.reshape(-1, length, *values.shape[1:])
    return torch.cat((clips[:, :1], clips[:, :-1]), 1).flatten(0, 1)
