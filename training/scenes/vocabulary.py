"""Names of things, what else they are called, what kind of thing they are, and whether a word fits a thing.

A word fits a thing (YES) when it is its name, a synonym, or a kind that it belongs to; it may fit (UNSURE)
when it is a related word or names a special case ("poodle" for a dog); otherwise it does not (NO). Questions
whose answer is unsure are never asked, so that truth stays true.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from training import DATA


class Match(IntEnum):
    """Whether a phrase fits a thing; ordered, so that `min` means "and"."""

    NO = 0
    UNSURE = 1
    YES = 2


@dataclass(frozen=True)
class Concept:
    """One thing that pictures show, or a kind of such things.

    Attributes:
        name: the commonest word for it.
        synonyms: other words that mean the same.
        kinds: names of the concepts that it directly is ("dog" is a "pet" and a "mammal").
        related: words that neither surely fit nor surely do not ("egg" for a nest).
    """

    name: str
    synonyms: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    related: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The name and its synonyms."""
        return (self.name, *self.synonyms)


class Vocabulary:
    """Concepts by name, and the answers that follow from them."""

    def __init__(self, concepts: Iterable[Concept]) -> None:
        self.concepts: Mapping[str, Concept] = {concept.name: concept for concept in concepts}
        for concept in self.concepts.values():
            for kind in concept.kinds:
                if kind not in self.concepts:
                    raise ValueError(
                        f"{concept.name!r} is said to be a {kind!r}, which is no concept; add it"
                    )
        self._kinds = {name: self._climb(name) for name in self.concepts}
        self._yes = {name: self._sure_words(name) for name in self.concepts}
        self._unsure = {name: self._unsure_words(name) for name in self.concepts}

    @classmethod
    def read(cls, path: Path = DATA / "concepts.tsv") -> Vocabulary:
        """Read a table with the columns name, synonyms, kinds, related (lists separated by `|`)."""
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        return cls(
            Concept(row["name"], _words(row["synonyms"]), _words(row["kinds"]), _words(row["related"]))
            for row in rows
        )

    def kinds(self, name: str) -> tuple[str, ...]:
        """Return all kinds that the concept `name` belongs to, nearest first."""
        return self._kinds[name]

    def match(self, noun: str, name: str) -> Match:
        """Say whether the word `noun` fits a thing of the concept `name`."""
        if noun in self._yes[name]:
            return Match.YES
        return Match.UNSURE if noun in self._unsure[name] else Match.NO

    def names_of(self, noun: str) -> list[str]:
        """Return the concepts that `noun` directly names (by name or synonym)."""
        return [name for name, concept in self.concepts.items() if noun in concept.words]

    def _climb(self, name: str) -> tuple[str, ...]:
        found: dict[str, None] = {}
        level = list(self.concepts[name].kinds)
        while level:
            found.update(dict.fromkeys(level))
            level = [up for kind in level for up in self.concepts[kind].kinds if up not in found]
        return tuple(found)

    def _sure_words(self, name: str) -> frozenset[str]:
        return frozenset(
            word for concept in (name, *self._kinds[name]) for word in self.concepts[concept].words
        )

    def _unsure_words(self, name: str) -> frozenset[str]:
        concept = self.concepts[name]
        unsure = set(concept.related)
        for word in concept.words:
            # The parts of "teddy bear" or "fire truck" may or may not be what is meant.
            unsure.update(word.split() if " " in word else ())
        for other, kinds in self._kinds.items():
            if name in kinds or other in concept.related:
                unsure.update(self.concepts[other].words)
        return frozenset(unsure - self._yes[name])


def is_novel(name: str) -> bool:
    """Say whether a concept is one of the tenth that "base" training never sees; the same everywhere."""
    return stable_fraction(f"novel:{name}") < 0.1


def stable_fraction(text: str) -> float:
    """Return a number in 0..1 that depends on `text` alone, on every machine and in every version."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _words(cell: str) -> tuple[str, ...]:
    return tuple(word for word in cell.split("|") if word)
