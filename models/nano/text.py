"""The text encoder: from a phrase to the classifier rows of the things it may mean.

Words are bags of hashed character n-grams, so no vocabulary is stored and no word is unknown. A small network
maps a noun to a gate per classifier (the 80 of the backbone): "puppy" opens one, "vehicle" eight, "helmet"
none. A phrase means what its head noun means, unless the network knows it, or its end, for a compound that
means something else: "old dog" is a dog, "hot dog" and "fire engine" are not. Each open gate gives one row of
classifier weights; a phrase scores what its best row scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from groundstream.models.nano.config import COCO_NAMES, NanoConfig
from groundstream.models.nano.parse import COLOURS, parse

#: gates below this give no row.
LOWEST_GATE = 0.3
#: a row: per level 128 weights and a bias, then the phrase's colours and its size.
LEVEL_WIDTH = NanoConfig().neck_channels + 1
CLASSIFIER_WIDTH = len(NanoConfig().strides_px) * LEVEL_WIDTH
ROW_WIDTH = CLASSIFIER_WIDTH + len(COLOURS) + 1
MOST_PIECES = 40
#: words of the longest compound.
MOST_WORDS = 3


class TextEncoder(nn.Module):
    """Hashed n-grams to gates.

    Args:
        buckets: rows of the embedding table; bucket 0 is padding.
        width: length of an embedding.
        hidden: width of the two hidden layers.
    """

    def __init__(self, buckets: int, width: int, hidden: int) -> None:
        super().__init__()
        self.buckets = buckets
        self.pieces = nn.EmbeddingBag(buckets, width, mode="sum", padding_idx=0)
        self.layers = nn.Sequential(
            nn.Linear(3 * width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, len(COCO_NAMES) + 1),
        )

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> TextEncoder:
        """Build the encoder from the `text.*` tensors of a weight file."""
        state = {
            key.removeprefix("text."): value.float()
            for key, value in tensors.items()
            if key.startswith("text.")
        }
        (buckets, width), (hidden, _) = state["pieces.weight"].shape, state["layers.0.weight"].shape
        encoder = cls(buckets, width, hidden)
        encoder.load_state_dict(state)
        return encoder.eval().requires_grad_(False)

    def forward(self, heads: Tensor, modifiers: Tensor, wholes: Tensor) -> Tensor:
        """Return (B, 81) logits: the gates, and whether these words are a compound of their own meaning.

        Args:
            heads: (B, 40) int64 pieces of the head noun, 0 where there are fewer.
            modifiers: (B, 2, 40) int64 pieces of the words before it.
            wholes: (B, 2) int64 pieces of all words together.
        """
        batch, most, length = modifiers.shape
        words = self.pieces(modifiers.reshape(batch * most, length)).view(batch, most, -1)
        count = modifiers.any(2).sum(1, keepdim=True).clamp(min=1)
        parts = (self.pieces(heads), words.sum(1) / count, self.pieces(wholes))
        logits: Tensor = self.layers(torch.cat(parts, 1))
        return logits

    @torch.inference_mode()
    def gates(self, phrases: Sequence[str]) -> Tensor:
        """Return (P, 80) how far each classifier answers to each phrase, 0..1; 0 where there is no noun."""
        return self.gates_of([parse(phrase).words for phrase in phrases])

    @torch.inference_mode()
    def own_words(self, phrases: Sequence[str]) -> list[int]:
        """Return how many words at the end of each noun have a meaning of their own: 2 for "hot dog"."""
        parsed = [parse(phrase).words for phrase in phrases]
        answer = [1] * len(parsed)
        for length in range(2, MOST_WORDS + 1):
            compound = self(*pieces_of([words[-length:] for words in parsed], self.buckets))[:, -1] > 0
            for row, words in enumerate(parsed):
                answer[row] = length if compound[row] and len(words) >= length else answer[row]
        return answer

    @torch.inference_mode()
    def gates_of(self, parsed: Sequence[Sequence[str]]) -> Tensor:
        """Return (P, 80) gates for phrases taken apart: modifiers and, last, the head noun."""
        answer = self(*pieces_of([words[-1:] for words in parsed], self.buckets))[:, :-1]
        for length in range(2, MOST_WORDS + 1):
            logits = self(*pieces_of([words[-length:] for words in parsed], self.buckets))
            compound = logits[:, -1] > 0
            compound &= torch.tensor([len(words) >= length for words in parsed])
            answer = torch.where(compound[:, None], logits[:, :-1], answer)
        gates: Tensor = answer.sigmoid() * torch.tensor([[bool(words)] for words in parsed])
        return gates

    @torch.inference_mode()
    def rows(self, phrases: Sequence[str], names: Tensor, names_bias: Tensor) -> list[Tensor]:
        """Return for each phrase its (k, 399) rows; k is 0 when no classifier answers to it.

        Args:
            phrases: what is looked for.
            names: (3, 80, 128) classifier weights per level.
            names_bias: (3, 80) their biases.
        """
        classifiers = torch.cat((names, names_bias[..., None]), 2).transpose(0, 1)  # (80, 3, 129)
        return [
            _rows(gates, classifiers, phrase)
            for phrase, gates in zip(phrases, self.gates(phrases), strict=True)
        ]


def _rows(gates: Tensor, classifiers: Tensor, phrase: str) -> Tensor:
    parsed = parse(phrase)
    (open_gates,) = torch.nonzero(gates >= LOWEST_GATE, as_tuple=True)
    rows = classifiers[open_gates].clone()
    rows[:, :, -1] += gates[open_gates].log()[:, None]  # a half-open gate halves the odds
    attributes = torch.tensor((*parsed.colours, parsed.size)).expand(len(rows), -1)
    return torch.cat((rows.flatten(1), attributes), 1)


def split_rows(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Split (T, 399) rows into (T, 3, 129) classifiers and (T, 12) attributes: 11 colours and a size."""
    classifiers, attributes = tokens[:, :CLASSIFIER_WIDTH], tokens[:, CLASSIFIER_WIDTH:]
    return classifiers.view(-1, CLASSIFIER_WIDTH // LEVEL_WIDTH, LEVEL_WIDTH), attributes


def phrase_attributes(attributes: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """Return (P, 12): the attributes of each phrase, which its rows share; zeros where it has no row."""
    nothing = attributes.new_zeros(attributes.shape[1])
    return torch.stack([attributes[start] if end > start else nothing for start, end in spans])


def pieces_of(phrases: Sequence[Sequence[str]], buckets: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return (B, 40) pieces of heads, (B, 2, 40) of modifiers, (B, 2) of all words, for `forward`.

    Only the last three words count, those nearest to the head.
    """
    words = np.zeros((len(phrases), MOST_WORDS, MOST_PIECES), np.int64)
    wholes = np.zeros((len(phrases), 2), np.int64)
    for row, phrase in enumerate(phrases):
        for place, word in enumerate(reversed(phrase[-MOST_WORDS:])):
            pieces = word_pieces(word, buckets)
            words[row, place, : len(pieces)] = pieces
        if phrase:
            whole = " ".join(phrase[-MOST_WORDS:])
            wholes[row] = [_bucket(f"{mark}{whole}", buckets) for mark in "#="]
    heads, modifiers = torch.from_numpy(words[:, 0]), torch.from_numpy(words[:, 1:])
    return heads, modifiers, torch.from_numpy(wholes)


@lru_cache(maxsize=2**16)
def word_pieces(word: str, buckets: int) -> tuple[int, ...]:
    """Return at most 40 buckets of `word`: itself twice, its n-grams of 3 to 5 with marked ends."""
    marked = f"<{word}>"
    grams = {marked[i : i + n] for n in (3, 4, 5) for i in range(len(marked) - n + 1)}
    names = (f"@{word}", f"!{word}", *sorted(grams))
    return tuple(_bucket(name, buckets) for name in names[:MOST_PIECES])


def _bucket(text: str, buckets: int) -> int:
    """32-bit FNV-1a (Fowler, Noll, Vo), the same on every machine; 0 is kept for padding."""
    value = 2166136261
    for byte in text.encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return 1 + value % (buckets - 1)
