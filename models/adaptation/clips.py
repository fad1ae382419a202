"""The clips that an adapter is fitted and measured on: frames, their times, and what can be seen in them.

Real footage has no labels: the truth of a real clip is what the frozen model says, confidently, of its clean
frames. Classes in `HELD_OUT` are never asked for while the shipped adapter is trained, so that a measurement
shows what it is worth for words that it has not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from groundstream.models.types import SizeRule

Motion = Literal["static", "slow", "fast", "real"]

#: classes that adapter training neither shows nor asks for: a third of those that its generated clips show,
#: of every kind.
_HELD_OUT = (
    "airplane,banana,bird,boat,car,cell phone,clock,dog,horse,laptop,traffic light,truck,umbrella,zebra"
)
HELD_OUT = frozenset(_HELD_OUT.split(","))


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
