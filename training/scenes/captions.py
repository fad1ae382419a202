"""Questions about a scene, and their answers: phrases that fit some object, and phrases that fit none.

A phrase is a noun (name, synonym or kind), perhaps with a colour and a size. Its answer is known for every
object, or it is not asked: where any object, hidden object or the background might fit, the phrase is left
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.scenes.colors import COLORS, color_match
from training.scenes.vocabulary import Match, Vocabulary

Rng = np.random.Generator
SIZES = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
#: Longest side over the picture's side: below is surely small, above surely not; and the same for large.
_SMALL, _LARGE = (0.13, 0.2), (0.38, 0.27)
_TRIES_PER_PHRASE = 12
_HUMAN = frozenset({"person", "body part"})


@dataclass(frozen=True)
class Phrase:
    """What is asked for, in parts; `color` and `size` are empty where they do not matter."""

    noun: str
    color: str = ""
    size: str = ""


@dataclass(frozen=True, eq=False)
class Thing:
    """What is known of an object in a scene.

    Attributes:
        concept: what it is.
        shares: its `color_shares`, or None where colours may not be asked (a grey picture).
        extent: longest side over the picture's side, or None where sizes may not be asked (video).
        clear: whether enough of it is visible to expect an answer.
    """

    concept: str
    shares: NDArray[np.float32] | None
    extent: float | None
    clear: bool = True


def answer(phrase: Phrase, thing: Thing, vocabulary: Vocabulary) -> Match:
    """Say whether `phrase` fits `thing`; all its parts must."""
    found = vocabulary.match(phrase.noun, thing.concept)
    if found and phrase.color:
        if thing.shares is None or _is_human(thing.concept, vocabulary):
            found = Match.UNSURE
        else:
            found = min(found, color_match(thing.shares, phrase.color))
    if found and phrase.size:
        found = min(found, _size_match(thing.extent, phrase.size))
    return found if thing.clear else min(found, Match.UNSURE)


def _is_human(name: str, vocabulary: Vocabulary) -> bool:
    """People are never asked for by colour: the word would be taken for their skin."""
    return not _HUMAN.isdisjoint((name, *vocabulary.kinds(name)))


def _size_match(extent: float | None, size: str) -> Match:
    if extent is None:
        return Match.UNSURE
    surely, surely_not = _SMALL if size == "small" else _LARGE
    sign = 1 if size == "small" else -1
    if sign * extent <= sign * surely:
        return Match.YES
    return Match.NO if sign * extent >= sign * surely_not else Match.UNSURE


class Questioner:
    """Asks about scenes, using the words for which pictures exist.

    Args:
        vocabulary: what words mean.
        shown: the concepts that scenes may contain; a word that fits none of them is never asked, because its
            answer would always be no.
    """

    def __init__(self, vocabulary: Vocabulary, shown: Sequence[str]) -> None:
        self.vocabulary = vocabulary
        kinds = {kind for name in shown for kind in vocabulary.kinds(name)}
        self._names = sorted(set(shown))
        self._kinds = sorted(kinds - set(shown))
        human = [name for name in (*self._names, *self._kinds) if _is_human(name, vocabulary)]
        self._human = {word for name in human for word in vocabulary.concepts[name].words}
        self._siblings = self._find_siblings()

    def ask(
        self, things: Sequence[Thing], background: Sequence[str], count: int, present: int, rng: Rng
    ) -> tuple[list[str], NDArray[np.bool_]]:
        """Return up to `count` distinct phrases and a (phrases, things) table of which fits which.

        Args:
            things: all objects, hidden ones too.
            background: concepts that may be seen in the background.
            count: how many phrases are wanted.
            present: how many of them should fit something; fewer where the scene does not give as many.
            rng: the source of chance.
        """
        asked: dict[Phrase, list[bool]] = {}
        backdrop = [Thing(name, None, None, clear=False) for name in background]
        for wanted, make, fits in ((present, self._present, True), (count, self._absent, False)):
            for _ in range(_TRIES_PER_PHRASE * count):
                if len(asked) >= wanted:
                    break
                phrase = make(things, rng)
                row = None if phrase is None or phrase in asked else self._truth(phrase, things, backdrop)
                if phrase is not None and row is not None and any(row) == fits:
                    asked[phrase] = row
        return self._speak(asked, len(things), rng)

    def _truth(self, phrase: Phrase, things: Sequence[Thing], backdrop: Sequence[Thing]) -> list[bool] | None:
        """The answer for every thing, or None where one of them is unsure."""
        answers = [answer(phrase, thing, self.vocabulary) for thing in things]
        if Match.UNSURE in answers:
            return None
        if any(answer(phrase, thing, self.vocabulary) for thing in backdrop):
            return None
        return [found is Match.YES for found in answers]

    def _present(self, things: Sequence[Thing], rng: Rng) -> Phrase | None:
        if not things:
            return None
        thing = things[int(rng.integers(len(things)))]
        concept, dice = self.vocabulary.concepts[thing.concept], rng.random()
        noun = concept.name
        if dice < 0.3 and concept.synonyms:
            noun = concept.synonyms[int(rng.integers(len(concept.synonyms)))]
        elif dice > 0.7 and (kinds := self.vocabulary.kinds(thing.concept)):
            words = self.vocabulary.concepts[kinds[int(rng.integers(len(kinds)))]].words
            noun = words[int(rng.integers(len(words)))]
        color = self._color_of(thing) if rng.random() < 0.35 else ""
        size = self._size_of(thing) if rng.random() < 0.15 else ""
        return self._phrase(noun, color, size)

    def _color_of(self, thing: Thing) -> str:
        if thing.shares is None:
            return ""
        color = COLORS[int(thing.shares.argmax())]
        return color if color_match(thing.shares, color) is Match.YES else ""

    def _size_of(self, thing: Thing) -> str:
        fits = [size for size in SIZES if _size_match(thing.extent, size) is Match.YES]
        return fits[0] if fits else ""

    def _absent(self, things: Sequence[Thing], rng: Rng) -> Phrase | None:
        dice = rng.random()
        thing = things[int(rng.integers(len(things)))] if things else None
        if thing is not None and dice < 0.2:  # the right noun in the wrong colour or size
            if thing.extent is not None and rng.random() < 0.3:
                return self._phrase(thing.concept, size=("small", "large")[int(rng.integers(2))])
            return self._phrase(thing.concept, COLORS[int(rng.integers(len(COLORS)))])
        if (
            thing is not None and dice < 0.4 and self._siblings.get(thing.concept)
        ):  # something of the same kind
            siblings = self._siblings[thing.concept]
            return Phrase(siblings[int(rng.integers(len(siblings)))])
        pool = self._kinds if self._kinds and dice > 0.9 else self._names
        words = self.vocabulary.concepts[pool[int(rng.integers(len(pool)))]].words
        noun = words[int(rng.integers(len(words)))]
        color = COLORS[int(rng.integers(len(COLORS)))] if rng.random() < 0.15 else ""
        return self._phrase(noun, color)

    def _phrase(self, noun: str, color: str = "", size: str = "") -> Phrase:
        """Leave out what nobody says: colours of people, "small something to eat"."""
        if noun.startswith("something"):
            return Phrase(noun)
        return Phrase(noun, "" if noun in self._human else color, size)

    def _find_siblings(self) -> dict[str, list[str]]:
        """Return for every name the others that share a kind with it."""
        kinds = {name: frozenset(self.vocabulary.concepts[name].kinds) for name in self._names}
        return {
            name: [other for other in self._names if not (kinds[name] - {name}).isdisjoint(kinds[other])]
            for name in self._names
        }

    def _speak(
        self, asked: dict[Phrase, list[bool]], things: int, rng: Rng
    ) -> tuple[list[str], NDArray[np.bool_]]:
        texts: dict[str, list[bool]] = {}
        phrases = list(asked)
        for number in rng.permutation(len(phrases)):
            texts.setdefault(spoken(phrases[int(number)], rng), asked[phrases[int(number)]])
        return list(texts), np.array(list(texts.values()), bool).reshape(len(texts), things)


def spoken(phrase: Phrase, rng: Rng) -> str:
    """Say a phrase the way a person might: with an article, in the plural, "big" for "large"."""
    words = []
    if phrase.size:
        words.append(SIZES[phrase.size][int(rng.integers(3))])
    if phrase.color:
        words.append("grey" if phrase.color == "gray" and rng.random() < 0.5 else phrase.color)
    dice = rng.random()
    words.append(plural(phrase.noun) if dice < 0.08 else phrase.noun)
    text = " ".join(words)
    if 0.08 <= dice < 0.2 and plural(phrase.noun) != phrase.noun:
        return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"
    return f"the {text}" if 0.2 <= dice < 0.25 else text


def plural(noun: str) -> str:
    """Return the regular English plural of a noun, or of its last word; plurals stay as they are."""
    irregular = {"man": "men", "woman": "women", "person": "people", "child": "children", "foot": "feet"}
    irregular |= {"tooth": "teeth", "mouse": "mice", "goose": "geese", "knife": "knives", "leaf": "leaves"}
    head, _, last = noun.rpartition(" ")
    if head.startswith("something"):
        return noun
    if last in irregular or last in irregular.values():
        last = irregular.get(last, last)
    elif last.endswith("s") and not last.endswith("ss"):
        return noun
    elif last.endswith(("ss", "sh", "ch", "x")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{head} {last}".strip()
