"""The open branch as it is stored: network, dictionary, which concepts are of which class, and the scale.

The dictionary says which words mean which concepts, so that unknown words stay silent.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from groundstream.models.errors import ModelError
from groundstream.models.nano.config import NanoConfig
from groundstream.models.nano.open_head import OpenConfig, OpenHead
from groundstream.models.nano.packed import pack
from groundstream.models.nano.parse import COLOUR_WORDS, FILLERS, SIZE_WORDS, parse, tokenize
from groundstream.models.nano.rows import FINE, MEANT

PREFIX = "open."
_PARTS = ("words", "alike", "scale", "bias")
#: the longest entry in words ("cup with a straw").
MOST_WORDS = 5
Words = tuple[str, ...]
#: what may stand before a noun without being part of it.
_BEFORE = FILLERS | COLOUR_WORDS.keys() | SIZE_WORDS.keys()


class Scale(NamedTuple):
    """From the log odds of a meaning to those of the score: odds + the concepts' bias + a shift.

    Phrases that the frozen names know have a shift of their own, and lose `per_concept` times the logarithm
    of how many concepts they mean ("animal": 105): there the branch only adds what it is surer of. `shift` is
    fitted together with the biases (`training/nano/calibrate.py`), the others were chosen; see
    `docs/glip-nano.md`.
    """

    shift: float
    known_shift: float
    per_concept: float


class OpenWords:
    """The dictionary of the open branch.

    Args:
        entries: words -> the numbers of the concepts that they mean.
        concepts: how many concepts there are.
    """

    def __init__(self, entries: Mapping[Words, Sequence[int]], concepts: int) -> None:
        self.entries, self.concepts = entries, concepts

    @classmethod
    def from_tensor(cls, text: Tensor, concepts: int) -> OpenWords:
        """Read the entries from (N,) uint8, zlib over UTF-8: per line words, a tab, numbers with spaces."""
        entries = {}
        for line in zlib.decompress(text.numpy().tobytes()).decode().splitlines():
            words, _, numbers = line.partition("\t")
            entries[tuple(words.split())] = tuple(map(int, numbers.split()))
        return cls(entries, concepts)

    def lookup(self, phrase: str, own_words: int = 1) -> Tensor:
        """Return (C,) which concepts `phrase` may mean, 1 or 0.

        The whole phrase counts first ("ear of corn"), then the longest end of its noun ("electric guitar",
        else "guitar").

        Args:
            phrase: what is looked for.
            own_words: so many words at the noun's end have a meaning of their own: of "hot dog" the last
                word alone does not count.
        """
        meant = torch.zeros(self.concepts)
        numbers = self._whole(tokenize(phrase))
        if numbers is None:
            numbers = self._end(parse(phrase).words, own_words)
        if numbers:
            meant[list(numbers)] = 1
        return meant

    def _whole(self, words: Sequence[str]) -> Sequence[int] | None:
        for start in range(len(words)):
            if tuple(words[start:]) in self.entries:
                return self.entries[tuple(words[start:])]
            if words[start] not in _BEFORE:
                break
        return None

    def _end(self, words: Words, own_words: int) -> Sequence[int]:
        for length in range(min(len(words), MOST_WORDS), own_words - 1, -1):
            if words[-length:] in self.entries:
                return self.entries[words[-length:]]
        return ()


@dataclass(frozen=True, eq=False)
class OpenBranch:
    """The open branch.

    Attributes:
        head: what was trained on the frozen features.
        words: what phrases mean.
        alike: (C, 80) float32, 1 where a concept may be of a class of the frozen network.
        scale: from odds to scores.
        bias: (C,) float32, what is added to the odds of each concept: low for those that see themselves
            everywhere. That of a phrase is the mean of its concepts', each as much as it says.
    """

    head: OpenHead
    words: OpenWords
    alike: Tensor
    scale: Scale
    bias: Tensor

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], config: NanoConfig) -> OpenBranch:
        """Build the branch from the `open.*` tensors of a weight file."""
        mine = {key.removeprefix(PREFIX): value for key, value in tensors.items() if key.startswith(PREFIX)}
        concepts = len(mine["alike"])
        head = OpenHead(OpenConfig(), config, concepts)
        head.load_state_dict({key: value.float() for key, value in mine.items() if key not in _PARTS})
        words = OpenWords.from_tensor(mine["words"], concepts)
        if mine["bias"].shape != (concepts,):
            raise ModelError(
                f"expected a bias for each of {concepts} concepts, but got {tuple(mine['bias'].shape)}; "
                "install groundstream again"
            )
        scale = Scale(*mine["scale"].tolist())
        return cls(head, words, mine["alike"].float(), scale, mine["bias"].float())

    def gates(self, phrase: str, classes: Tensor, own_words: int = 1) -> Tensor:
        """Return (C,) gates: `MEANT` for what `phrase` means, `FINE` for what else its classes may look like.

        Args:
            phrase: what is looked for.
            classes: (80,) bool, the frozen classes that it opens; "pedestrian" opens person, and any kind of
                person is fine.
            own_words: see `OpenWords.lookup`.
        """
        fine = self.alike.cpu()[:, classes].any(1) * FINE
        return torch.maximum(self.words.lookup(phrase, own_words) * MEANT, fine)

    def to(self, device: torch.device, dtype: torch.dtype) -> OpenBranch:
        """Return the branch for use on `device`, frozen; most of the arithmetic is done in `dtype`."""
        head = self.head.eval().requires_grad_(False).to(device)
        head.reduce.to(dtype)
        head.embed.to(dtype)
        head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        pack(head)
        return OpenBranch(head, self.words, self.alike.to(device), self.scale, self.bias.to(device))
