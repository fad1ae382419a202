"""The clips of the temporal benchmark: generated ones with exact truth, and real ones.

Training and test show other pictures, other photographs and other speeds; classes in `HELD_OUT` are shown
and asked for in the test alone. The truth of a real clip is what the frozen model says, confidently, of its
clean frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from groundstream.models.nano.config import COCO_NAMES
from training.scenes.bank import STYLES, TRAINING_STYLES, Bank, Split
from training.scenes.paths import Speed
from training.scenes.video import VideoConfig, VideoGenerator, VideoSample
from training.scenes.vocabulary import Vocabulary, stable_fraction
from training.temporal.cast import read_cast
from groundstream.models.types import SizeRule

Part = Literal["train", "test"]
Motion = Literal["static", "slow", "fast", "real"]

#: classes that adapter training neither shows nor asks for: a third of the cast's, of every kind.
_HELD_OUT = (
    "airplane,banana,bird,boat,car,cell phone,clock,dog,horse,laptop,traffic light,truck,umbrella,zebra"
)
HELD_OUT = frozenset(_HELD_OUT.split(","))
#: an object counts from this visible share and this many pixels of its shorter side on.
CLEAR, LEAST_PX = 0.4, 16
SPEEDS: tuple[Speed, ...] = ("static", "slow", "fast")


class FrameTruth(NamedTuple):
    """What is there in one frame: K objects.

    `boxes` is (K, 4) float32 xyxy in pixels of the picture, `classes` (K,) int64 numbers in COCO_NAMES,
    `ids` (K,) int64 numbers of the tracks, `counts` (K,) bool; a box that does not count (hardly visible,
    tiny) is neither asked for nor wrong.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    ids: NDArray[np.int64]
    counts: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Clip:
    """T frames with their truth.

    Attributes:
        name: says where it comes from, and seeds its corruptions.
        frames: (T, H, W, 3) uint8 RGB; sides are multiples of 32.
        times_s: (T,) float64, strictly growing.
        truth: one entry per frame.
        motion: how fast its objects move.
    """

    name: str
    frames: NDArray[np.uint8]
    times_s: NDArray[np.float64]
    truth: tuple[FrameTruth, ...]
    motion: Motion


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
        recipe: what clips look like; the part's own when None.
    """

    def __init__(self, bank: Bank, part: Part, seed: int, recipe: ClipRecipe | None = None) -> None:
        self._part, self._seed, self._recipe = part, seed, recipe or RECIPES[part]
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


def read_video(
    path: Path, rule: SizeRule, *, start_s: float = 0.0, end_s: float = np.inf, every: int = 1
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return frames as a model's pictures, (T, H, W, 3) uint8 RGB, and their times in seconds.

    Args:
        path: a video file.
        rule: of the model; where it would pad, the picture is cut instead, so that all of it is content.
        start_s, end_s: frames of this half-open range are taken.
        every: one frame of so many.

    Raises:
        ValueError: the file is no video, or no frame lies in the range.
    """
    frames, times_s = [], []
    for number, (frame, time_s) in enumerate(_decode(path)):
        if time_s >= end_s:
            break
        if start_s <= time_s and number % every == 0:
            frames.append(_fit(frame, rule))
            times_s.append(time_s)
    if not frames:
        raise ValueError(f"{path} has no frame between {start_s:g} and {end_s:g} s")
    return np.stack(frames), np.array(times_s)


def _decode(path: Path) -> Iterator[tuple[NDArray[np.uint8], float]]:
    try:
        container = av.open(str(path))
    except (OSError, av.error.FFmpegError) as error:
        raise ValueError(f"{path} cannot be read as a video: {error.strerror}") from None
    with container:
        if not container.streams.video:
            raise ValueError(f"{path} has no video; give a file with pictures in it")
        stream = container.streams.video[0]
        stream.thread_count = 1
        rate = float(stream.average_rate or 25)
        for number, frame in enumerate(container.decode(stream)):
            pixels = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            yield pixels, number / rate if frame.time is None else frame.time


def _fit(frame: NDArray[np.uint8], rule: SizeRule) -> NDArray[np.uint8]:
    height, width = rule.height_px, rule.width_px
    if rule.kind == "short_side":
        height, width = rule.plan(*frame.shape[:2]).content_px
    small = np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    step = rule.multiple_px
    return small[: height // step * step, : width // step * step]


def cut(name: str, frames: NDArray[np.uint8], times_s: NDArray[np.float64], length: int) -> Iterator[Clip]:
    """Cut a video into clips of `length` frames, as yet without truth; a shorter rest is left out."""
    nothing = FrameTruth(
        np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool)
    )
    for number, start in enumerate(range(0, len(frames) - length + 1, length)):
        rows = slice(start, start + length)
        yield Clip(
            f"{name}-{number}",
            frames[rows],
            times_s[rows] - times_s[start],
            (nothing,) * length,
            "real",
        )
