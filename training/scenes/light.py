"""The light of a scene, and what a still camera does to its picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from groundstream.models.adaptation.corruptions import add_noise, motion_blur
from training.scenes.backgrounds import relight
from training.scenes.paste import Patch, cast_shadow, light

Rgb = NDArray[np.uint8]
Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Mood:
    """One light for all objects of a scene.

    Attributes:
        tint: (3,) float32 colour of the light.
        slope: how much brighter the lit sides are, to the right and downwards.
        shift: how far shadows fall, in widths and heights of what casts them.
        flat: height of a shadow over the height of what casts it; 1 is a wall behind, small is the ground.
        dark: 0 (no shadows) to 1 (black ones).
    """

    tint: NDArray[np.float32]
    slope: tuple[float, float]
    shift: tuple[float, float]
    flat: float
    dark: float

    @classmethod
    def draw(cls, rng: Rng) -> Mood:
        """Return a mood chosen by chance; half of them have no shadows."""
        slope = rng.normal(0, 0.15, 2)
        flat = 1.0 if rng.random() < 0.5 else float(rng.uniform(0.12, 0.5))
        shift = rng.normal(0, 0.08, 2) * (1, flat)
        return cls(
            np.exp(rng.normal(0, 0.05, 3)).astype(np.float32),
            (float(slope[0]), float(slope[1])),
            (float(shift[0]), float(shift[1])),
            flat,
            float(rng.uniform(0.15, 0.7)) if rng.random() < 0.5 else 0.0,
        )

    def show(self, patch: Patch, gain: float, picture: Rgb) -> Patch:
        """Return the patch in this light, after its shadow has fallen on `picture` (in place)."""
        if self.dark:
            cast_shadow(picture, patch, self.shift, self.flat, self.dark)
        return light(patch, gain, self.slope, self.tint)


def photograph(picture: Rgb, share: float, rng: Rng) -> tuple[Rgb, bool]:
    """Return the picture as a camera gives it, and whether it still has its colours.

    Args:
        picture: (H, W, 3) uint8 RGB.
        share: 0 leaves every picture perfect; at 1 about half are noisy, half compressed, a third blurred.
        rng: the source of chance.
    """
    out = relight(picture, rng, 0.5 * share)
    if rng.random() < 0.3 * share:
        out = np.asarray(cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.4, 1.8))), np.uint8)
    elif rng.random() < 0.08 * share:
        out = motion_blur(out[None], np.zeros(1), float(rng.uniform(0.05, 0.35)), rng)[0]
    if rng.random() < 0.5 * share:
        out = add_noise(out, float(rng.uniform(0.02, 0.4) ** 1.5), rng)
    if rng.random() < 0.5 * share:
        out = add_jpeg(out, float(rng.uniform(0.0, 0.9)))
    if rng.random() < 0.06 * share:
        return np.repeat(np.asarray(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), np.uint8)[..., None], 3, 2), False
    return out, True


def add_jpeg(frame: NDArray[np.uint8], severity: float) -> NDArray[np.uint8]:
    """JPEG for one picture, quality from 90 down to 8."""
    quality = round(90 - 82 * severity)
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    done, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR_RGB), np.uint8)
