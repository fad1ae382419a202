"""Backgrounds: crops of photographs, gradients, clouds of noise, pattern tiles, plain colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from training.scenes.bank import Photograph

Rgb = NDArray[np.uint8]
Rng = np.random.Generator
#: Share of backgrounds that are photographs, where there are any.
PHOTOGRAPHS = 0.6


def make_background(
    photographs: Sequence[Photograph], rng: Rng, height_px: int, width_px: int
) -> tuple[Rgb, tuple[str, ...]]:
    """Return a background, (height_px, width_px, 3) uint8 RGB, and the concepts that may be seen in it."""
    if photographs and rng.random() < PHOTOGRAPHS:
        photograph = photographs[int(rng.integers(len(photographs)))]
        return crop(photograph.rgb, rng, height_px, width_px), photograph.contains
    make = _PROCEDURAL[int(rng.integers(len(_PROCEDURAL)))]
    return make(rng, height_px, width_px), ()


def crop(rgb: Rgb, rng: Rng, height_px: int, width_px: int) -> Rgb:
    """Cut a random part out of a photograph, mirrored or not, in other light."""
    full_h, full_w = rgb.shape[:2]
    part = min(full_h / height_px, full_w / width_px) * rng.uniform(0.35, 1.0)
    height, width = max(8, int(height_px * part)), max(8, int(width_px * part))
    top, left = int(rng.integers(full_h - height + 1)), int(rng.integers(full_w - width + 1))
    piece = np.ascontiguousarray(rgb[top : top + height, left : left + width])
    how = cv2.INTER_AREA if part > 1 else cv2.INTER_LINEAR
    piece = np.asarray(cv2.resize(piece, (width_px, height_px), interpolation=how), np.uint8)
    return relight(np.asarray(cv2.flip(piece, 1), np.uint8) if rng.random() < 0.5 else piece, rng)


def relight(rgb: Rgb, rng: Rng, strength: float = 1.0) -> Rgb:
    """Change exposure, contrast and white balance; `strength` 0 leaves the picture as it is."""
    gamma = np.exp(rng.normal(0, 0.25 * strength))
    gains = np.exp(rng.normal(0, 0.15 * strength) + rng.normal(0, 0.06 * strength, 3))
    ramp = 255 * (np.arange(256) / 255) ** gamma
    table = np.clip(ramp[:, None] * gains + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(rgb, table[None]), np.uint8)


def plain(rng: Rng, height_px: int, width_px: int) -> Rgb:
    """One colour, often near white or black, as in catalogues and drawings."""
    color = _colors(rng, 1)[0] if rng.random() < 0.5 else rng.choice([15.0, 128.0, 240.0, 255.0]) * np.ones(3)
    return np.full((height_px, width_px, 3), color.astype(np.uint8), np.uint8)


def gradient(rng: Rng, height_px: int, width_px: int) -> Rgb:
    """A smooth change between the colours of four corners."""
    corners = _colors(rng, 4).reshape(2, 2, 3).astype(np.float32)
    smooth = cv2.resize(corners, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
    return smooth.astype(np.uint8)


def clouds(rng: Rng, height_px: int, width_px: int) -> Rgb:
    """Noise on several scales, between two colours: walls, grass, cloth, sky."""
    total = np.zeros((height_px, width_px), np.float32)
    stretch, fade = np.exp(rng.normal(0, 0.7)), rng.uniform(0.4, 0.9)
    for octave in range(1, 7):
        rows, columns = max(2, int(2**octave * stretch)), max(2, int(2**octave / stretch))
        grid = rng.standard_normal((min(rows, height_px), min(columns, width_px)), dtype=np.float32)
        total += fade**octave * cv2.resize(grid, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
    mix = np.clip(total / (4 * float(total.std()) + 1e-6) + 0.5, 0, 1)
    first, second = _colors(rng, 2)
    table = np.linspace(first, second, 256).astype(np.uint8)
    return np.asarray(table[(mix * 255).astype(np.uint8)], np.uint8)


def tiles(rng: Rng, height_px: int, width_px: int) -> Rgb:
    """A repeated pattern of bars, checks or random cells, turned by some angle."""
    cells = int(rng.integers(2, 6))
    pattern = _colors(rng, 3)[rng.integers(0, 3, (cells, int(rng.choice([1, cells]))))]
    side = int(rng.integers(6, 48))
    tile = np.repeat(np.repeat(pattern, side, axis=0), side, axis=1).astype(np.uint8)
    reach = int(np.hypot(height_px, width_px)) + 1
    sheet = np.tile(tile, (reach // tile.shape[0] + 1, reach // tile.shape[1] + 1, 1))
    turn = cv2.getRotationMatrix2D(
        (reach / 2, reach / 2), float(rng.choice([0, 45, rng.uniform(0, 180)])), 1.0
    )
    matrix = np.asarray(turn, np.float64)
    matrix[:, 2] += ((width_px - reach) / 2, (height_px - reach) / 2)
    turned = cv2.warpAffine(sheet, matrix, (width_px, height_px), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(turned, np.uint8)


_PROCEDURAL: tuple[Callable[[Rng, int, int], Rgb], ...] = (plain, gradient, clouds, clouds, tiles)


def _colors(rng: Rng, count: int) -> NDArray[np.float64]:
    """Colours that are as often muted as vivid, (count, 3) in 0..255."""
    gray = rng.uniform(0, 255, (count, 1))
    return gray + (rng.uniform(0, 255, (count, 3)) - gray) * rng.uniform(0, 1, (count, 1))
