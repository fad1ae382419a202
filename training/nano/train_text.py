"""Train the text encoder of glip-nano on the lexicon: `python -m training.nano.train_text`.

Words alone and behind random modifiers, with spelling mistakes, beside the many words that mean none of the
classes. Everything is seeded; the encoder is written into the weight file beside the network.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from groundstream.models.common.tensor_file import read_tensors, write_tensors
from groundstream.models.nano.config import SHIPPED
from groundstream.models.nano.parse import tokenize
from groundstream.models.nano.text import MOST_WORDS, TextEncoder, pieces_of
from training.data.lexicon import (
    NO_CLASS,
    Meaning,
    Words,
    counted_words,
    hand_written,
    read_irregular,
    read_lexicon,
    read_wordnet,
    with_plurals,
)
from training.scenes.vocabulary import Vocabulary


@dataclass(frozen=True)
class TextRecipe:
    """What is trained, and how long.

    Attributes:
        buckets, width, hidden: sizes of the encoder.
        steps, batch: how much it sees.
        rate: highest learning rate; it rises for the first 2 % of the steps and falls as a cosine.
        shares: parts of a batch from everyday words, other words of the classes, and other words of none.
        modified: part of the samples that get random words before them, and so are no compounds.
        misspelt: part of the samples with a spelling mistake in their head noun.
    """

    buckets: int = 32768
    width: int = 48
    hidden: int = 256
    steps: int = 5000
    batch: int = 1024
    rate: float = 4e-3
    shares: tuple[float, float, float] = (0.4, 0.15, 0.45)
    modified: float = 0.4
    misspelt: float = 0.08
    seed: int = 0


class Samples:
    """Draws batches from a lexicon.

    Args:
        lexicon: words -> meaning.
        familiar: the entries that are drawn as everyday words.
        recipe: how to draw.
    """

    def __init__(self, lexicon: Mapping[Words, Meaning], familiar: set[Words], recipe: TextRecipe) -> None:
        self._recipe, self._lexicon = recipe, lexicon
        self._random = np.random.default_rng(recipe.seed)
        self._groups: tuple[list[Words], list[Words], list[Words]] = ([], [], [])
        for words, meaning in lexicon.items():
            self._groups[0 if words in familiar else 1 if any(meaning) else 2].append(words)
        # Words of the classes stand before other heads as often as words of none: "bus driver", "car door".
        single = [[words[0] for words in group if len(words) == 1] for group in self._groups]
        self._modifiers = [pool for pool in (single[0], [*single[1], *single[2]]) if pool]

    def batch(self) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, Tensor]:
        """Return one batch of pieces, (B, 81) targets and (B, 81) how much each target counts."""
        counts = self._random.multinomial(self._recipe.batch, self._recipe.shares)
        phrases, targets, weights = [], [], []
        for group, count in zip(self._groups, counts, strict=True):
            for number in self._random.integers(0, max(1, len(group)), count if group else 0):
                words = self._vary(group[number])
                compound = len(words) > 1 and is_compound(words, self._lexicon)
                meaning = self._lexicon.get(words, self._lexicon[group[number]])
                phrases.append(words)
                targets.append((*meaning, float(compound)))
                # The gates of words that are no compound are never asked for: their head's count.
                weights.append(
                    (float(compound or len(words) == 1),) * len(meaning) + (float(len(words) > 1),)
                )
        return pieces_of(phrases, self._recipe.buckets), torch.tensor(targets), torch.tensor(weights)

    def _vary(self, words: Words) -> Words:
        words = words[-MOST_WORDS:]
        if len(words) == 1 and self._random.random() < self._recipe.misspelt and len(words[0]) > 5:
            return (self._misspell(words[0]),)
        if self._random.random() < self._recipe.modified:
            count = 1 + (self._random.random() < 0.3)
            words = (*(self._modifier() for _ in range(count)), *words)
        return words[-MOST_WORDS:]

    def _modifier(self) -> str:
        pool = self._modifiers[int(self._random.integers(0, len(self._modifiers)))]
        return pool[int(self._random.integers(0, len(pool)))]

    def _misspell(self, word: str) -> str:
        """Leave out, double or swap one letter inside `word`."""
        place = int(self._random.integers(1, len(word) - 2))
        kinds = (
            word[:place] + word[place + 1 :],
            word[:place] + word[place] + word[place:],
            word[:place] + word[place + 1] + word[place] + word[place + 2 :],
        )
        return kinds[int(self._random.integers(0, 3))]


def train(lexicon: Mapping[Words, Meaning], familiar: set[Words], recipe: TextRecipe) -> TextEncoder:
    """Train an encoder on `lexicon`; prints the loss now and then."""
    torch.manual_seed(recipe.seed)
    encoder = TextEncoder(recipe.buckets, recipe.width, recipe.hidden)
    torch.nn.init.normal_(encoder.pieces.weight, std=0.05)
    samples = Samples(lexicon, familiar, recipe)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=recipe.rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, recipe.steps, pct_start=0.02)
    started, mean = time.monotonic(), 0.0
    for step in range(1, recipe.steps + 1):
        pieces, targets, weights = samples.batch()
        logits = encoder(*pieces)
        loss = F.binary_cross_entropy_with_logits(logits, targets, weights, reduction="sum") / len(targets)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        mean += (loss.item() - mean) / min(step, 100)
        if step % 500 == 0:
            print(f"step {step} loss {mean:.4f} seconds {time.monotonic() - started:.0f}", flush=True)
    return encoder.eval()


def everyday_words(wordnet: Path) -> set[Words]:
    """Return the words that are drawn most: hand-written, counted by WordNet, or of the open branch."""
    words = hand_written().keys() | counted_words(read_wordnet(wordnet))
    for concept in Vocabulary.read().concepts.values():
        words |= {tuple(tokenize(word)) for word in concept.words}
    return set(with_plurals(dict.fromkeys(words, NO_CLASS), read_irregular(wordnet / "noun.exc")))


def is_compound(words: Words, lexicon: Mapping[Words, Meaning]) -> bool:
    """Whether `words` mean something else than their head noun."""
    return words in lexicon and lexicon[words] != lexicon.get(words[-1:], NO_CLASS)


def accuracy(encoder: TextEncoder, entries: Sequence[Words], lexicon: Mapping[Words, Meaning]) -> float:
    """Return the part of `entries` of which every gate falls on the right side of one half."""
    right = 0
    for start in range(0, len(entries), 4096):
        part = entries[start : start + 4096]
        given = encoder.gates_of(part) > 0.5
        wanted = torch.tensor([lexicon[words] for words in part]) > 0.5
        right += int((given == wanted).all(1).sum())
    return right / len(entries)


def main() -> None:
    """Train on WordNet's folder and write the encoder into the weight file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wordnet", type=Path, help="folder with data.noun, index.noun, cntlist.rev, noun.exc")
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--steps", type=int, default=TextRecipe.steps)
    parser.add_argument(
        "--held-out", type=float, default=0.0, help="part of the class words left out and tested"
    )
    options = parser.parse_args()
    lexicon = read_lexicon(options.wordnet)
    irregular = read_irregular(options.wordnet / "noun.exc")
    written = set(with_plurals(hand_written(), irregular))
    familiar = everyday_words(options.wordnet) & lexicon.keys()
    known = sorted(words for words, meaning in lexicon.items() if any(meaning))
    random = np.random.default_rng(1)
    hidden = {words for words in known if random.random() < options.held_out}
    shown = {words: meaning for words, meaning in lexicon.items() if words not in hidden}
    encoder = train(shown, familiar - hidden, TextRecipe(steps=options.steps))
    nothing = sorted(words for words, meaning in shown.items() if not any(meaning))
    for title, entries in (
        ("hand-written", sorted(written - hidden)),
        ("everyday", sorted(familiar - hidden)),
        ("words of the classes", sorted(set(known) - hidden)),
        ("words of none", nothing),
        ("held out", sorted(hidden)),
    ):
        if entries:
            print(f"{title}: {len(entries)} entries, right {accuracy(encoder, entries, lexicon):.4f}")
    if not hidden:
        kept = {
            key: value for key, value in read_tensors(options.weights).items() if not key.startswith("text.")
        }
        text = {f"text.{key}": value.half() for key, value in encoder.state_dict().items()}
        write_tensors(options.weights, kept | text)


if __name__ == "__main__":
    main()
