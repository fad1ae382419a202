"""What things are called: region embeddings against concept vectors, on frozen features inside boxes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from groundstream.models.nano.open_head import OpenHead
from training.glip.losses import giou_loss
from training.nano.cache import read_file
from training.scenes.vocabulary import Match, Vocabulary

#: files whose boxes are mixed with each other.
FILES_AT_ONCE = 6
BOX_WEIGHT = 0.5
#: channels that hardly change do not become large.
SMALLEST_SPREAD = 0.02
SMALLEST_CHANCE = 1e-6


@dataclass(frozen=True)
class NamesRecipe:
    """How names are trained.

    Attributes:
        epochs, batch: how often each box is seen, and boxes per step.
        rate: highest learning rate; it rises for a tenth of the steps and falls as a cosine.
        decay: weight decay.
        smoothing: part of the truth that is spread over all concepts.
        kinds: weight of the loss of kinds: a dog that is called a fox is still found as an animal.
        dropout: part of the region embedding that is left out, by chance.
        hidden_points: part of the grid points that is left out, by chance.
        mean: share of each step's weights in the running mean, which is what is kept.
    """

    epochs: int = 6
    batch: int = 256
    rate: float = 1.5e-3
    decay: float = 0.03
    smoothing: float = 0.05
    kinds: float = 0.0
    dropout: float = 0.3
    hidden_points: float = 0.15
    mean: float = 0.002


class NamesBatch(NamedTuple):
    """K described boxes.

    `described` (K, D) float32 raw stage features, `boxes` and `wanted` (K, 4), `labels` (K,) int64, the
    last class is "nothing"; `also` (K, C + 1) bool, further classes that a box of nothing may show.
    """

    described: Tensor
    boxes: Tensor
    wanted: Tensor
    labels: Tensor
    also: Tensor


def read_names(path: Path, allowed: Mapping[str, Tensor], nothing: int) -> NamesBatch:
    """Read a `names` file; `allowed` has a (C + 1,) mask for each concept of a background."""
    tensors, notes = read_file(path)
    empty = torch.zeros(nothing + 1, dtype=torch.bool)
    pictures = []
    for background in json.loads(notes["backgrounds"]):
        mask = empty.clone()
        for name in filter(None, background.split("|")):
            mask |= allowed[name]
        pictures.append(mask)
    labels = tensors["labels"].long()
    also = torch.stack(pictures)[tensors["scenes"].long()] & (labels == nothing)[:, None]
    return NamesBatch(tensors["described"], tensors["boxes"], tensors["wanted"], labels, also)


def allowed_concepts(vocabulary: Vocabulary, concepts: Sequence[str]) -> dict[str, Tensor]:
    """Return, for every concept of the vocabulary, a (C + 1,) mask of the concepts that it may look like."""
    masks = {}
    for name, concept in vocabulary.concepts.items():
        mask = [
            any(vocabulary.match(word, other) > 0 for word in concept.words)
            or any(vocabulary.match(word, name) > 0 for word in vocabulary.concepts[other].words)
            for other in concepts
        ]
        masks[name] = torch.tensor([*mask, False])
    return masks


def kinds_of(vocabulary: Vocabulary, concepts: Sequence[str]) -> Tensor:
    """Return (K, C + 1) float32: a row per kind with more than one pictured concept, 1 for those."""
    kinds = sorted({kind for name in concepts for kind in vocabulary.kinds(name)})
    rows = [[*(vocabulary.match(kind, name) is Match.YES for name in concepts), False] for kind in kinds]
    members = torch.tensor(rows, dtype=torch.float32).view(len(kinds), len(concepts) + 1)
    return members[members.sum(1) > 1]


def batches(
    paths: Sequence[Path], allowed: Mapping[str, Tensor], nothing: int, size: int, random: np.random.Generator
) -> Iterator[NamesBatch]:
    """Yield the boxes of all files once, in random order within a few files."""
    order = random.permutation(len(paths))
    for first in range(0, len(order), FILES_AT_ONCE):
        parts = [read_names(paths[row], allowed, nothing) for row in order[first : first + FILES_AT_ONCE]]
        whole = NamesBatch(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
        rows = torch.from_numpy(random.permutation(len(whole.labels)))
        for chosen in torch.split(rows, size):
            yield NamesBatch(whole.described[chosen].float(), *(column[chosen] for column in whole[1:]))


@torch.no_grad()
def first_reduction(head: OpenHead, described: Tensor) -> None:
    """Start the reductions as random directions of features that are centred and have unit spread.

    Args:
        head: gets the weights.
        described: (K, D) raw samples of some boxes.
    """
    config = head.config
    sizes = [points**2 * depth for points, depth in zip(config.grid, config.depths, strict=True)]
    for part, depth, (old_weight, old_bias) in zip(
        torch.split(described, sizes, 1), config.depths, _reductions(head), strict=True
    ):
        features = part.reshape(-1, depth)
        spread = features.std(0) + SMALLEST_SPREAD
        weight = (torch.rand(len(old_bias), depth) * 2 - 1) * (3 / depth) ** 0.5 / spread
        old_weight.copy_(weight[:, :, None, None])
        old_bias.copy_(-(weight @ features.mean(0)))


def reduce_described(head: OpenHead, described: Tensor, hidden: float = 0.0) -> Tensor:
    """Map raw (K, D) samples to the (K, samples) ones that the reduced maps would have given.

    A `hidden` part of the grid points is left out, by chance, as if something stood before the thing.
    """
    config = head.config
    sizes = [points**2 * depth for points, depth in zip(config.grid, config.depths, strict=True)]
    reduced = []
    for part, depth, (weight, bias) in zip(
        torch.split(described, sizes, 1), config.depths, _reductions(head), strict=True
    ):
        points = F.linear(part.view(len(part), -1, depth), weight[:, :, 0, 0], bias)
        reduced.append(F.dropout1d(points, hidden, training=hidden > 0).flatten(1))
    return torch.cat(reduced, 1)


def _reductions(head: OpenHead) -> list[tuple[Tensor, Tensor]]:
    """Return each map's (reduced, depth, 1, 1) weights and (reduced,) biases."""
    return [(reduce.get_parameter("weight"), reduce.get_parameter("bias")) for reduce in head.reduce]


def names_loss(
    head: OpenHead, batch: NamesBatch, recipe: NamesRecipe, kinds: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the loss of names (cross entropy; "nothing or what the photograph may hold" for nothing), with
    that of kinds, and the loss of refined boxes (GIoU of those that show a thing); scalars.

    `kinds` is (K, C + 1), from `kinds_of`.
    """
    described = reduce_described(head, batch.described, recipe.hidden_points)
    region = F.dropout(head.embed(described).relu(), recipe.dropout)
    logits, refined = head.concepts(region), head.refine_boxes(region, batch.boxes)
    nothing = logits.shape[1] - 1
    shown = batch.labels != nothing
    named = F.cross_entropy(
        logits[shown], batch.labels[shown], label_smoothing=recipe.smoothing, reduction="sum"
    )
    fine = batch.also[~shown]
    fine[:, nothing] = True
    chance = logits[~shown].log_softmax(1).masked_fill(~fine, -torch.inf).logsumexp(1)
    if recipe.kinds:
        named = named + recipe.kinds * kinds_loss(logits[shown], batch.labels[shown], kinds)
    box = giou_loss(refined[shown], batch.wanted[shown]).sum() / shown.sum().clamp(min=1)
    return (named - chance.sum()) / len(logits), BOX_WEIGHT * box


def kinds_loss(logits: Tensor, labels: Tensor, kinds: Tensor) -> Tensor:
    """Return the sum over things and their kinds of -log(probability of the kind); wide kinds count less.

    Args:
        logits: (N, C + 1) of the concepts.
        labels: (N,) int64, what the things are.
        kinds: (K, C + 1), see `kinds_of`.
    """
    chance = logits.float().softmax(1) @ kinds.T  # (N, K)
    weight = kinds.T[labels] / kinds.sum(1).sqrt()
    return -(weight * chance.clamp(min=SMALLEST_CHANCE).log()).sum()


@torch.inference_mode()
def accuracy(head: OpenHead, batch: NamesBatch) -> tuple[float, float]:
    """Return how many things get their own name first, and how many boxes of nothing are called nothing."""
    region = head.embed(reduce_described(head, batch.described.float())).relu()
    right = head.concepts(region).argmax(1) == batch.labels
    shown = batch.labels != head.concepts.out_features - 1
    return float(right[shown].float().mean()), float(right[~shown].float().mean())
