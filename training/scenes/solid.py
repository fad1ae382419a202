"""Make a flat picture of a thing look like a photograph of a solid one: bent, rounded by light, rough, soft.

Drawings are flat and clean; photographs have shading, gloss, fine structure and other proportions. All
functions take and return (h, w, 4) uint8 RGBA, colours not multiplied by alpha.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Rgba = NDArray[np.uint8]
Rng = np.random.Generator


def make_solid(rgba: Rgba, rng: Rng) -> Rgba:
    """Return the picture bent (half of the time), then rounded, rough, muted, soft (each of them often)."""
    out = bend(rgba, rng) if rng.random() < 0.5 else rgba
    if rng.random() < 0.6:
        out = round_off(out, rng)
    if rng.random() < 0.5:
        out = roughen(out, rng)
    if rng.random() < 0.5:
        out = mute(out, rng)
    return soften(out, rng) if rng.random() < 0.3 else out


def bend(rgba: Rgba, rng: Rng) -> Rgba:
    """Move the parts of the thing against each other, smoothly, and change its proportions a little."""
    height, width = rgba.shape[:2]
    grid = rng.normal(0, rng.uniform(0.005, 0.035), (4, 4, 2)).astype(np.float32)
    shift = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    stretch = np.exp(rng.normal(0, 0.12, 2))
    x = (np.arange(width, dtype=np.float32)[None] - width / 2) * np.float32(max(1.0, stretch[0])) + width / 2
    y = (np.arange(height, dtype=np.float32)[:, None] - height / 2) * np.float32(
        max(1.0, stretch[1])
    ) + height / 2
    side = max(height, width)
    where = (x + shift[..., 0] * side, y + shift[..., 1] * side)
    out = cv2.remap(rgba, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(out, np.uint8)


def round_off(rgba: Rgba, rng: Rng) -> Rgba:
    """Light the thing from one side as if it bulged towards the viewer; some things are glossy."""
    inside = cv2.distanceTransform((rgba[..., 3] > 64).astype(np.uint8), cv2.DIST_L2, 3)
    deepest = float(inside.max()) + 1e-6
    bulge = np.sqrt(np.minimum(inside / (deepest * rng.uniform(0.4, 1.0)), 1), dtype=np.float32)
    # What is bright in the drawing stands out a little: folds, buttons, eyes.
    detail = cv2.cvtColor(np.ascontiguousarray(rgba[..., :3]), cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    relief = cv2.blur(bulge + detail * np.float32(rng.uniform(0, 0.25)), (5, 5))
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.float32(np.cos(angle)) * cv2.Sobel(relief, cv2.CV_32F, 1, 0) + np.float32(
        np.sin(angle)
    ) * cv2.Sobel(relief, cv2.CV_32F, 0, 1)
    slope *= np.float32(deepest / 8)
    lit = 1 + np.clip(slope, -1.5, 1.5) * np.float32(rng.uniform(0.15, 0.5))
    lit *= 1 - np.float32(rng.uniform(0, 0.35)) * (1 - bulge)
    out = rgba[..., :3] * lit[..., None]
    if rng.random() < 0.35:
        out += (np.clip(slope - rng.uniform(0.2, 0.8), 0, 1) * rng.uniform(80, 220))[..., None]
    return _join(out, rgba)


def roughen(rgba: Rgba, rng: Rng) -> Rgba:
    """Lay a fine or coarse structure over the thing, of several scales and perhaps a direction: fur, wood."""
    height, width = rgba.shape[:2]
    total = np.zeros((height, width), np.float32)
    ratio = float(np.exp(rng.normal(0, 0.9)))
    for cells in (rng.uniform(4, 16), rng.uniform(16, 60), rng.uniform(60, 160)):
        size = (int(np.clip(cells * ratio, 2, width)), int(np.clip(cells / ratio, 2, height)))
        grid = rng.standard_normal((size[1], size[0]), dtype=np.float32) * np.float32(rng.uniform(0.3, 1))
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
    gain = 1 + total * np.float32(rng.uniform(0.04, 0.22))
    return _join(rgba[..., :3] * gain[..., None], rgba)


def mute(rgba: Rgba, rng: Rng) -> Rgba:
    """Take part of the colour away and bend the brightness: nature is less vivid than drawings."""
    gray = cv2.cvtColor(np.ascontiguousarray(rgba[..., :3]), cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    color = gray + (rgba[..., :3] - gray) * np.float32(rng.uniform(0.3, 0.95))
    tint = np.exp(rng.normal(0, 0.12, 3)).astype(np.float32)
    bent = 255 * (np.clip(color, 0, 255) / 255) ** np.float32(np.exp(rng.normal(0.1, 0.3)))
    return _join(bent * tint, rgba)


def soften(rgba: Rgba, rng: Rng) -> Rgba:
    """Blur the thing alone, edges too, as what is out of focus or was enlarged."""
    sigma = float(rng.uniform(0.5, 2.5)) * max(rgba.shape[:2]) / 192
    return np.asarray(cv2.GaussianBlur(rgba, (0, 0), max(sigma, 0.3)), np.uint8)


def _join(rgb: NDArray[np.floating], rgba: Rgba) -> Rgba:
    out = rgba.copy()
    out[..., :3] = np.clip(rgb, 0, 255)
    return out
