"""What a scene shows: names drawn evenly, a picture for each name, and what is known of that picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.scenes.bank import Bank, Sprite
from training.scenes.colors import COLORS, color_match, color_shares
from training.scenes.solid import make_solid
from training.scenes.style import restyle
from training.scenes.vocabulary import Match, Vocabulary

Rng = np.random.Generator


@dataclass(frozen=True)
class SceneObject:
    """One object: what it is, its picture's style and key, and the colour word that fits, or ""."""

    concept: str
    style: str
    key: str
    color: str


@dataclass(frozen=True, eq=False)
class Cutout:
    """An object before it is placed: its picture, where it comes from and its colours."""

    rgba: NDArray[np.uint8]
    sprite: Sprite
    shares: NDArray[np.float32]

    def describe(self, colored: bool) -> SceneObject:
        """Return what is known of the object; no colour word where the picture has lost its colours."""
        color = COLORS[int(self.shares.argmax())]
        certain = colored and color_match(self.shares, color) is Match.YES
        return SceneObject(self.sprite.concept, self.sprite.style, self.sprite.key, color if certain else "")


class Wardrobe:
    """Chooses what a scene shows: all names equally often, and of each name all styles equally often."""

    def __init__(self, bank: Bank, vocabulary: Vocabulary) -> None:
        self._pictures: dict[str, dict[str, list[Sprite]]] = {}
        for sprite in bank.sprites:
            if sprite.concept not in vocabulary.concepts:
                raise ValueError(
                    f"sprite {sprite.key!r} shows {sprite.concept!r}, which is not in the vocabulary"
                )
            self._pictures.setdefault(sprite.concept, {}).setdefault(sprite.style, []).append(sprite)
        self.names = sorted(self._pictures)
        kinds = {name: set(vocabulary.concepts[name].kinds) for name in self.names}
        self._alike = {
            name: [other for other in self.names if kinds[name] & kinds[other]] or [name]
            for name in self.names
        }

    def choose_names(self, count: int, rng: Rng) -> list[str]:
        """Return `count` names: strangers, several of one, and some of one kind, hard to tell apart."""
        names: list[str] = []
        while len(names) < count:
            dice = rng.random()
            if names and dice < 0.25:
                names.append(names[-1])
            elif names and dice < 0.4:
                alike = self._alike[names[-1]]
                names.append(alike[int(rng.integers(len(alike)))])
            else:
                names.append(self.names[int(rng.integers(len(self.names)))])
        return names

    def cut_out(self, name: str, restyled: float, rng: Rng, solid: float = 0.0) -> Cutout:
        """Return a picture of `name`.

        Args:
            name: what it shows.
            restyled: probability that its style is changed.
            rng: the source of chance.
            solid: probability that it is made to look like a photograph of a solid thing.
        """
        styles = list(self._pictures[name].values())
        pictures = styles[int(rng.integers(len(styles)))]
        sprite = pictures[int(rng.integers(len(pictures)))]
        rgba = restyle(sprite.rgba, rng) if rng.random() < restyled else sprite.rgba
        # Without any solid things no number is drawn, so that scenes stay what they were.
        if solid and rng.random() < solid:
            rgba = make_solid(rgba, rng)
        return Cutout(rgba, sprite, color_shares(rgba))
