"""Generated clips with exact truth, for the training of the adapter and for its benchmark.

Training and test show other pictures, other photographs and other speeds; classes in `HELD_OUT` are shown
and asked for in the test alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from groundstream.models.adaptation.clips import HELD_OUT, Clip, FrameTruth
from groundstream.models.nano.config import COCO_NAMES
from training.scenes.bank import STYLES, TRAINING_STYLES, Bank, Split
from training.scenes.paths import Speed
from training.scenes.video import VideoConfig, VideoGenerator, VideoSample
from training.scenes.vocabulary import Vocabulary, stable_fraction
from training.temporal.cast import read_cast

Part = Literal["train", "test"]

#: an object counts from this visible share and this many pixels of its shorter side on.
CLEAR, LEAST_PX = 0.4, 16
SPEEDS: tuple[Speed, ...] = ("static", "slow", "fast")


@dataclass(frozen=True)
class ClipRecipe:
    """What generated clips look like; `interval_s` alternates from clip to clip.

    Attributes:
        frames: frames per clip.
        intervals_s: mean times between frames.
        irregular: how uneven the intervals are, as in `VideoConfig`.
        size_px: height and width.
    """

    frames: int
    intervals_s: tuple[float, ...]
    irregular: float
    size_px: tuple[int, int] = (256, 416)


RECIPES: dict[Part, ClipRecipe] = {
    "train": ClipRecipe(frames=16, intervals_s=(0.05, 0.1, 0.2), irregular=0.6),
    "test": ClipRecipe(frames=20, intervals_s=(0.04, 0.14), irregular=0.0),
}


class ClipGenerator:
    """Makes the generated clips of one part.

    Args:
        bank: all pictures; those of the cast that the part may show are taken.
        part: training clips, or those that are measured on.
        seed: another seed shows other clips.
    """

    def __init__(self, bank: Bank, part: Part, seed: int) -> None:
        self._part, self._seed, self._recipe = part, seed, RECIPES[part]
        self._cast = read_cast(bank)
        self._bank, self._vocabulary = self._select(bank), Vocabulary.read()

    def __call__(self, index: int) -> Clip:
        """Make clip number `index`; its objects move as `SPEEDS` says, one after the other."""
        speed = SPEEDS[index % len(SPEEDS)]
        sample = self._generator(speed, index // len(SPEEDS)).sample(index)
        name = f"{self._part}-{self._seed}-{index}"
        return Clip(name, sample.frames, sample.times_s, _truth_of(sample, self._cast), speed)

    def _select(self, bank: Bank) -> Bank:
        """Return the part's pictures of the cast, all of a class under one name: so all are equally often."""
        stand_in: dict[str, str] = {}
        sprites = []
        for sprite in bank.sprites:
            name = self._cast.get((sprite.style, sprite.key))
            if name is not None and may_show(self._part, sprite.style, sprite.key, name):
                concept = stand_in.setdefault(name, sprite.concept)
                sprites.append(replace(sprite, concept=concept))
        return Bank(sprites, bank.photographs)

    def _generator(self, speed: Speed, turn: int) -> VideoGenerator:
        recipe = self._recipe
        config = VideoConfig(
            frames=recipe.frames,
            height_px=recipe.size_px[0],
            width_px=recipe.size_px[1],
            interval_s=recipe.intervals_s[turn % len(recipe.intervals_s)],
            irregular=recipe.irregular,
            most_objects=5,
            sides=(0.2, 0.6),
            speed=speed,
            restyle=0.0,
            seed=self._seed,
        )
        training = self._part == "train"
        split = Split(
            f"temporal-{self._part}",
            training,
            TRAINING_STYLES if training else frozenset(STYLES),
            pictures="all",  # chosen by `may_show`
            photographs="seen" if training else "unseen",
        )
        return VideoGenerator(self._bank, self._vocabulary, split, config)


def may_show(part: Part, style: str, key: str, name: str) -> bool:
    """Whether clips of `part` may show a picture: a fifth of the pictures and one style are for the test."""
    for_test = not STYLES[style].training or stable_fraction(f"temporal:{style}/{key}") < 0.2
    return for_test if part == "test" else not for_test and name not in HELD_OUT


def _truth_of(sample: VideoSample, cast: dict[tuple[str, str], str]) -> tuple[FrameTruth, ...]:
    classes = np.array([COCO_NAMES.index(cast[thing.style, thing.key]) for thing in sample.objects], np.int64)
    ids = np.arange(1, len(classes) + 1)
    truth = []
    for boxes, visibility in zip(sample.boxes, sample.visibility, strict=True):
        seen = visibility > 0
        sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
        counts = (visibility >= CLEAR) & (sides >= LEAST_PX)
        truth.append(FrameTruth(boxes[seen], classes[seen], ids[seen], counts[seen]))
    return tuple(truth)
