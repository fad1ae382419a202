"""Rows of text features: what a phrase asks of the frozen classifiers, of pixels, and of the open branch.

A row is 3 x 129 numbers of a frozen classifier (weights and bias per level), 12 of colours and size, then a
gate for each concept of the open branch. A phrase has one row for each frozen class that it may mean, and
one, silent for the frozen classifiers, for its concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from groundstream.models.nano.config import NanoConfig
from groundstream.models.nano.parse import parse
from groundstream.models.nano.text import LEVEL_WIDTH, ROW_WIDTH, split_rows

#: the bias of a row that no frozen classifier answers to.
SILENT = -1e4
#: gates of concepts: what a phrase means, and what may stand there without its find being doubted.
MEANT, FINE = 1.0, 0.5


class Meanings(NamedTuple):
    """What P phrases mean: (P, C) gates (`MEANT`, `FINE`, 0), and (P,) bool which the frozen names know."""

    gates: Tensor
    known: Tensor

    @property
    def meant(self) -> Tensor:
        """(P, C) float32, 1 for the concepts that each phrase means."""
        return (self.gates >= MEANT).float()

    @property
    def fine(self) -> Tensor:
        """(P, C) float32, 1 for the concepts that fit what each phrase finds."""
        return (self.gates > 0).float()


def join_rows(frozen: Tensor, concepts: Tensor, phrase: str) -> Tensor:
    """Return the (k, 399 + C) rows of a phrase: those of the frozen classifiers, then one for its concepts.

    Args:
        frozen: (k, 399) rows from the text encoder.
        concepts: (C,) gates of the concepts.
        phrase: the phrase, for its colours and its size.
    """
    rows = F.pad(frozen, (0, len(concepts)))
    if not bool(concepts.any()):
        return rows
    parsed = parse(phrase)
    classifier = torch.zeros(len(NanoConfig().strides_px), LEVEL_WIDTH)
    classifier[:, -1] = SILENT
    attributes = torch.tensor((*parsed.colours, parsed.size))
    return torch.cat((rows, torch.cat((classifier.flatten(), attributes, concepts))[None]))


def meanings_of(tokens: Tensor, spans: Sequence[tuple[int, int]]) -> Meanings:
    """Return what the open branch is asked for by (T, 399 + C) rows; `spans` has each phrase's rows."""
    gates = tokens[:, ROW_WIDTH:]
    classifiers, _ = split_rows(tokens[:, :ROW_WIDTH])
    heard = classifiers[:, 0, -1] > SILENT / 2
    nothing = gates.new_zeros(gates.shape[1])
    meant = [gates[start:end].amax(0) if end > start else nothing for start, end in spans]
    known = [bool(heard[start:end].any()) for start, end in spans]
    return Meanings(
        torch.stack(meant) if meant else gates.new_zeros(0, gates.shape[1]),
        torch.tensor(known, dtype=torch.bool, device=gates.device),
    )
