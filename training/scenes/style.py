"""Change the style of an object's picture: colours, outline, texture, grey, posterise, line drawing.

A small set of drawing styles is all that the sources have; restyling keeps a model from learning the style
instead of the thing. All functions take and return (h, w, 4) uint8 RGBA, colours not multiplied by alpha.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Rgba = NDArray[np.uint8]
Rng = np.random.Generator


def restyle(rgba: Rgba, rng: Rng) -> Rgba:
    """Return the picture in one of the styles below, chosen by `rng`."""
    names = list(STYLINGS)
    return STYLINGS[names[int(rng.integers(len(names)))]](rgba, rng)


def turn_hue(rgba: Rgba, rng: Rng) -> Rgba:
    """Turn all hues by one angle, and change saturation and brightness a little."""
    hsv = cv2.cvtColor(np.ascontiguousarray(rgba[..., :3]), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + int(rng.integers(180))) % 180
    hsv[..., 1] = _scaled(hsv[..., 1], rng.uniform(0.6, 1.4))
    hsv[..., 2] = _scaled(hsv[..., 2], rng.uniform(0.7, 1.2))
    return _join(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), rgba)


def paint(rgba: Rgba, rng: Rng) -> Rgba:
    """Paint the whole thing in one colour, keeping light and shade."""
    gray = _gray(rgba).astype(np.float32) / 255
    color = rng.uniform(0, 255, 3).astype(np.float32)
    dark, bright = color * rng.uniform(0.05, 0.4), color + (255 - color) * rng.uniform(0.2, 0.9)
    return _join(dark + (bright - dark) * gray[..., None], rgba)


def to_gray(rgba: Rgba, rng: Rng) -> Rgba:
    """Take the colour away, and stretch or flatten the contrast."""
    gray = _scaled(_gray(rgba).astype(np.int16) - 128, rng.uniform(0.5, 1.5), 128)
    return _join(np.repeat(gray[..., None], 3, axis=2), rgba)


def posterize(rgba: Rgba, rng: Rng) -> Rgba:
    """Leave two to five levels per channel."""
    levels = int(rng.integers(2, 6))
    table = np.round(np.arange(256) / 255 * (levels - 1)) * (255 / (levels - 1))
    return _join(table.astype(np.uint8)[rgba[..., :3]], rgba)


def outline(rgba: Rgba, rng: Rng) -> Rgba:
    """Draw a dark, white or coloured contour inside the silhouette."""
    width = max(1, round(max(rgba.shape[:2]) * rng.uniform(0.01, 0.04)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    inside = cv2.erode(rgba[..., 3], kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    color = (0, 255, rng.integers(0, 256, 3))[int(rng.integers(3))]
    return _join(np.where((inside > 128)[..., None], rgba[..., :3], np.uint8(color)), rgba)


def draw_lines(rgba: Rgba, rng: Rng) -> Rgba:
    """Turn the picture into a line drawing on plain or lightly coloured paper."""
    gray = cv2.GaussianBlur(_gray(rgba), (0, 0), 1.0)
    edges = cv2.morphologyEx(gray, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    rim = cv2.morphologyEx(rgba[..., 3], cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    ink = np.clip(np.maximum(edges, rim).astype(np.float32) * rng.uniform(3, 8) / 255, 0, 1)[..., None]
    wash = rng.uniform(0, 0.35)
    paper = 255 - wash * (255 - rgba[..., :3].astype(np.float32))
    return _join(paper * (1 - ink) + rng.uniform(0, 70) * ink, rgba)


def texture(rgba: Rgba, rng: Rng) -> Rgba:
    """Lay a grain, cloth or cloud pattern over the thing."""
    cells = int(rng.integers(4, 40))
    grid = rng.standard_normal((cells, max(1, cells // int(rng.integers(1, 5))))).astype(np.float32)
    pattern = cv2.resize(grid, (rgba.shape[1], rgba.shape[0]), interpolation=cv2.INTER_LINEAR)
    gain = 1 + pattern[..., None] * rng.uniform(0.08, 0.35)
    return _join(rgba[..., :3] * gain, rgba)


STYLINGS: dict[str, Callable[[Rgba, Rng], Rgba]] = {
    "turn_hue": turn_hue,
    "paint": paint,
    "to_gray": to_gray,
    "posterize": posterize,
    "outline": outline,
    "draw_lines": draw_lines,
    "texture": texture,
}


def _gray(rgba: Rgba) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(rgba[..., :3]), cv2.COLOR_RGB2GRAY), np.uint8)


def _scaled(channel: NDArray[Any], gain: float, offset: float = 0) -> NDArray[np.uint8]:
    return np.asarray(np.clip(channel.astype(np.float32) * gain + offset, 0, 255), np.uint8)


def _join(rgb: NDArray[Any], rgba: Rgba) -> Rgba:
    out = rgba.copy()
    out[..., :3] = np.clip(rgb, 0, 255)
    return out
