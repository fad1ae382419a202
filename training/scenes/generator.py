"""Generated scenes: cutouts pasted on backgrounds, with exact boxes and questions whose answers are known.

Scene number `index` of a split is the same picture for ever: its random numbers come from the seed, the
split's name and the index alone, so any worker can make any scene and none has to know of the others.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.scenes.backgrounds import clouds, make_background
from training.scenes.bank import Bank, Split
from training.scenes.captions import Questioner, Thing
from training.scenes.light import Mood, photograph
from training.scenes.paste import Canvas, Placement, Seen, make_patch
from training.scenes.vocabulary import Vocabulary
from training.scenes.wardrobe import Cutout, SceneObject, Wardrobe

Rng = np.random.Generator
#: Visible share from which on an answer is expected for an object.
CLEAR = 0.3
#: An object with fewer visible pixels than this is no object of the sample.
LEAST_PIXELS = 24


@dataclass(frozen=True)
class SceneConfig:
    """What scenes look like.

    Attributes:
        height_px: height of the picture.
        width_px: width of the picture.
        most_objects: scenes have one to this many objects.
        phrases: how many phrases are asked per scene.
        present: of these, how many at most fit an object (half of it to all of it, by chance).
        restyle: share of objects whose style is changed (`training.scenes.style`).
        solid: share of objects that are made to look photographed (`training.scenes.solid`).
        spoil: share of pictures that are blurred, noisy, compressed or without colour.
        seed: together with the split and the index it decides everything.
    """

    height_px: int = 416
    width_px: int = 416
    most_objects: int = 10
    phrases: int = 20
    present: int = 8
    restyle: float = 0.4
    solid: float = 0.0
    spoil: float = 0.6
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.height_px, self.width_px) < 32 or self.most_objects < 1:
            raise ValueError(
                f"expected at least 32x32 pixels and one object, but got {self.width_px}x{self.height_px} "
                f"and {self.most_objects}"
            )


@dataclass(frozen=True, eq=False)
class SceneSample:
    """A scene with its truth; M objects, P phrases.

    Attributes:
        picture: (H, W, 3) uint8 RGB.
        objects: what the M objects are.
        boxes: (M, 4) float32 xyxy around the visible pixels (pixel edges).
        boxes_amodal: (M, 4) float32 xyxy around all pixels of the object, also hidden and outside ones.
        visibility: (M,) float32, visible pixels over all pixels.
        phrases: the P phrases asked, some of which fit nothing.
        truth: (P, M) bool, which phrase fits which object.
        background: concepts that may be seen in the background; no phrase that they may fit is asked.
    """

    picture: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]
    boxes: NDArray[np.float32]
    boxes_amodal: NDArray[np.float32]
    visibility: NDArray[np.float32]
    phrases: tuple[str, ...]
    truth: NDArray[np.bool_]
    background: tuple[str, ...]


class SceneGenerator:
    """Makes the scenes of one split.

    Args:
        bank: all pictures; the split's part is taken.
        vocabulary: what the names in the bank mean.
        split: which pictures, names and photographs may be used.
        config: what scenes look like.
    """

    def __init__(self, bank: Bank, vocabulary: Vocabulary, split: Split, config: SceneConfig) -> None:
        self.config, self.split = config, split
        part = bank.select(split)
        self._photographs = part.photographs
        self._wardrobe = Wardrobe(part, vocabulary)
        self._questioner = Questioner(vocabulary, self._wardrobe.names)

    def sample(self, index: int) -> SceneSample:
        """Make scene number `index` (0 or more)."""
        rng = scene_rng(self.config.seed, self.split, index)
        config = self.config
        background, contains = make_background(self._photographs, rng, config.height_px, config.width_px)
        canvas = Canvas(background)
        cutouts = self._fill(canvas, rng)
        seen = canvas.seen()
        picture, colored = photograph(canvas.picture, config.spoil, rng)
        return self._with_questions(picture, colored, cutouts, seen, contains, rng)

    def _fill(self, canvas: Canvas, rng: Rng) -> list[Cutout]:
        count = 1 + int(rng.integers(self.config.most_objects))
        names = self._wardrobe.choose_names(count, rng)
        cutouts = [
            self._wardrobe.cut_out(name, self.config.restyle, rng, self.config.solid) for name in names
        ]
        mood = Mood.draw(rng)
        taken: list[NDArray[np.float64]] = []
        for cutout in cutouts:
            patch = make_patch(cutout.rgba, self._place(cutout, count, taken, rng))
            canvas.add_object(mood.show(patch, float(np.exp(rng.normal(0, 0.12))), canvas.picture))
        if rng.random() < 0.2:
            self._cover(canvas, rng)
        return cutouts

    def _place(self, cutout: Cutout, count: int, taken: list[NDArray[np.float64]], rng: Rng) -> Placement:
        """Choose a size and, of a few places, the one that covers the least of what is there."""
        height, width = self.config.height_px, self.config.width_px
        largest = 0.9 / (1 + 0.18 * (count - 1))
        side = np.exp(rng.uniform(np.log(0.06), np.log(largest))) * min(height, width)
        scale = float(side / max(cutout.rgba.shape[:2]))
        reach = np.array([cutout.rgba.shape[1], cutout.rgba.shape[0]]) * scale / 2
        places = rng.uniform(0, 1, (1 if rng.random() < 0.25 else 5, 2)) * (width, height)
        # Most objects stay inside; one in six may be cut off by the picture's edge.
        if rng.random() < 5 / 6:
            places = np.clip(places, reach, np.maximum(np.array([width, height]) - reach, reach))
        boxes = np.hstack([places - reach, places + reach])
        best = int(np.argmin([sum(_overlap_px(box, other) for other in taken) for box in boxes]))
        taken.append(boxes[best])
        turned, lean = rng.random() < 0.35, rng.normal(0, 0.08)
        angle = float(rng.normal(0, 18)) if turned else 0.0
        center = (float(places[best, 0]), float(places[best, 1]))
        return Placement(center, scale, angle, bool(rng.random() < 0.5), float(lean) if turned else 0.0)

    def _cover(self, canvas: Canvas, rng: Rng) -> None:
        """Put a textured post, plank or blob in front of everything."""
        side = rng.uniform(0.05, 0.35, 2) * min(canvas.picture.shape[:2])
        size = (int(side[1]) + 4, int(side[0]) + 4)
        alpha = np.full((size[1], size[0]), 255, np.uint8)
        if rng.random() < 0.5:
            alpha[:] = 0
            middle, axes = (size[0] // 2, size[1] // 2), (size[0] // 2 - 1, size[1] // 2 - 1)
            cv2.ellipse(alpha, middle, axes, 0, 0, 360, 255, -1)
        rgba = np.dstack([clouds(rng, size[1], size[0]), alpha])
        place = rng.uniform(0, 1, 2) * canvas.picture.shape[1::-1]
        canvas.add_occluder(
            make_patch(rgba, Placement((place[0], place[1]), 1.0, float(rng.uniform(-90, 90))))
        )

    def _with_questions(
        self,
        picture: NDArray[np.uint8],
        colored: bool,
        cutouts: list[Cutout],
        seen: list[Seen],
        contains: tuple[str, ...],
        rng: Rng,
    ) -> SceneSample:
        side = min(picture.shape[:2])
        things = [
            Thing(
                cutout.sprite.concept,
                cutout.shares if colored else None,
                float(np.max(view.box_amodal[2:] - view.box_amodal[:2])) / side,
                view.visibility >= CLEAR and view.pixels >= LEAST_PIXELS,
            )
            for cutout, view in zip(cutouts, seen, strict=True)
        ]
        present = int(rng.integers(self.config.present // 2, self.config.present + 1))
        phrases, truth = self._questioner.ask(things, contains, self.config.phrases, present, rng)
        kept = [row for row, view in enumerate(seen) if view.pixels >= LEAST_PIXELS]
        return SceneSample(
            picture,
            tuple(cutouts[row].describe(colored) for row in kept),
            np.array([seen[row].box for row in kept], np.float32).reshape(-1, 4),
            np.array([seen[row].box_amodal for row in kept], np.float32).reshape(-1, 4),
            np.array([seen[row].visibility for row in kept], np.float32),
            tuple(phrases),
            truth[:, kept],
            contains,
        )


def scene_rng(seed: int, split: Split, index: int) -> Rng:
    """Return the random numbers of one scene; equal for equal arguments, independent otherwise."""
    return np.random.default_rng([seed, zlib.crc32(split.name.encode()), index])


def _overlap_px(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    return float(np.prod(np.maximum(sides, 0)))
