"""Which words mean which concepts of the open branch: a dictionary, so that unknown words stay silent."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from groundstream.models.nano.parse import COLOUR_WORDS, FILLERS, SIZE_WORDS, parse, tokenize

#: the longest entry in words ("cup with a straw").
MOST_WORDS = 5
Words = tuple[str, ...]
#: what may stand before a noun without being part of it.
_BEFORE = FILLERS | COLOUR_WORDS.keys() | SIZE_WORDS.keys()


class OpenWords:
    """The dictionary of the open branch.

    Args:
        entries: words -> the numbers of the concepts that they mean.
        concepts: how many concepts there are.
    """

    def __init__(self, entries: Mapping[Words, Sequence[int]], concepts: int) -> None:
        self._entries, self.concepts = entries, concepts

    @classmethod
    def from_tensor(cls, text: Tensor, concepts: int) -> OpenWords:
        """Read the entries from (N,) uint8, zlib over UTF-8: per line words, a tab, numbers with spaces."""
        entries = {}
        for line in zlib.decompress(text.numpy().tobytes()).decode().splitlines():
            words, _, numbers = line.partition("\t")
            entries[tuple(words.split())] = tuple(map(int, numbers.split()))
        return cls(entries, concepts)

    def to_tensor(self) -> Tensor:
        """Return what `from_tensor` reads."""
        lines = (
            f"{' '.join(words)}\t{' '.join(map(str, self._entries[words]))}"
            for words in sorted(self._entries)
        )
        packed = zlib.compress("\n".join(lines).encode(), 9)
        return torch.frombuffer(bytearray(packed), dtype=torch.uint8)

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
            if tuple(words[start:]) in self._entries:
                return self._entries[tuple(words[start:])]
            if words[start] not in _BEFORE:
                break
        return None

    def _end(self, words: Words, own_words: int) -> Sequence[int]:
        for length in range(min(len(words), MOST_WORDS), own_words - 1, -1):
            if words[-length:] in self._entries:
                return self._entries[words[-length:]]
        return ()
