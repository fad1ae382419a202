"""Colour words for pixels, decided in a perceptual space.

Every pixel gets one of eleven basic colour words (Berlin and Kay) or none, by its lightness, chroma and hue
in OKLab (B. Ottosson, 2020: https://bottosson.github.io/posts/oklab/). Beige, teal and other in-between
shades get none: people disagree about them, so nothing is asked about them.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from training.scenes.vocabulary import Match

COLORS = ("black", "white", "gray", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
_NONE = len(COLORS)
_MIXES = {"red": "pink brown orange", "orange": "brown red yellow pink", "yellow": "orange brown white"}


def color_shares(rgba: NDArray[np.uint8], most: int = 1500) -> NDArray[np.float32]:
    """Return the share of each of `COLORS` among the opaque pixels of a picture; the rest has no colour word.

    Args:
        rgba: (h, w, 4) uint8, colours not multiplied by alpha.
        most: about how many pixels are looked at, on a regular grid.
    """
    step = max(1, int((rgba.shape[0] * rgba.shape[1] / most) ** 0.5))
    pixels = rgba[::step, ::step].reshape(-1, 4)
    solid = pixels[pixels[:, 3] > 128] >> 3
    words = _table()[solid[:, 0], solid[:, 1], solid[:, 2]]
    counts = np.bincount(words, minlength=_NONE + 1)[:_NONE]
    return (counts / max(1, len(solid))).astype(np.float32)


def color_match(shares: NDArray[np.float32], color: str) -> Match:
    """Say whether a thing with these `color_shares` is called `color`: the one that clearly prevails is.

    Wheels, windows and outlines are black, white and grey; they count half against a real colour.
    """
    share = float(shares[COLORS.index(color)])
    if share < 0.08 and not _shades_into(shares, color):
        return Match.NO
    rivals = shares.copy()
    rivals[:3] /= 2
    rivals[COLORS.index(color)] = 0
    needed = 0.6 if color in COLORS[:3] else 0.35
    return Match.YES if share >= needed and share >= 2 * rivals.max() else Match.UNSURE


def _shades_into(shares: NDArray[np.float32], color: str) -> bool:
    """Say whether much of the thing has a colour that some people would call `color`."""
    near = _MIXES.get(color, "").split()
    near += [other for other, mixes in _MIXES.items() if color in mixes.split()]
    near += {"gray": ["white", "black"], "white": ["gray"], "black": ["gray"]}.get(color, [])
    near += {
        "purple": ["pink", "blue"],
        "pink": ["purple"],
        "blue": ["purple", "green"],
        "green": ["blue"],
    }.get(color, [])
    return bool(sum(shares[COLORS.index(other)] for other in near) + (1 - shares.sum()) > 0.6)


@cache
def _table() -> NDArray[np.uint8]:
    """The word of each of 32 x 32 x 32 RGB cells."""
    cells = (np.stack(np.meshgrid(*[np.arange(32)] * 3, indexing="ij"), -1) * 8 + 4) / 255
    lightness, chroma, hue = _oklch(cells)
    words = np.full(lightness.shape, _NONE, np.uint8)
    for color, where in _rules(lightness, chroma, hue):
        words[where] = COLORS.index(color)
    return words


def _oklch(rgb: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Lightness 0..1, chroma 0..0.33 and hue in degrees of sRGB values in 0..1."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = np.cbrt(linear @ _TO_CONES.T)
    lab = cones @ _TO_LAB.T
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360
    return lab[..., 0], np.hypot(lab[..., 1], lab[..., 2]), hue


_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)

Where = NDArray[np.bool_]


def _rules(
    lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]
) -> list[tuple[str, Where]]:
    """Regions of the colour space in the order in which they are painted (later ones cover earlier ones)."""
    vivid, light = chroma > 0.05, lightness
    reddish, rosy = (hue < 42) | (hue >= 350), (hue < 12) | (hue >= 335)
    earthy = (hue >= 30) & (hue < 95) & (chroma > 0.03)
    return [
        ("gray", (chroma < 0.035) & (light > 0.38) & (light < 0.82)),
        ("white", (chroma < 0.04) & (light > 0.88)),
        ("black", (light < 0.25) | ((chroma < 0.04) & (light < 0.34))),
        ("red", vivid & reddish & (light >= 0.3) & (light <= 0.7) & (chroma > 0.13)),
        ("pink", vivid & rosy & (light > 0.62)),
        ("pink", vivid & reddish & (light > 0.76) & (hue < 30)),
        ("orange", (hue >= 42) & (hue < 80) & (light > 0.64) & (chroma > 0.12)),
        ("yellow", (hue >= 85) & (hue < 118) & (light > 0.78) & (chroma > 0.08)),
        ("brown", earthy & (light >= 0.27) & (light < 0.6) & (chroma < 0.15)),
        ("green", vivid & (hue >= 120) & (hue < 170) & (light >= 0.28)),
        ("blue", vivid & (hue >= 220) & (hue < 283) & (light >= 0.25)),
        ("purple", vivid & (hue >= 288) & (hue < 332) & (light >= 0.25) & (light < 0.72)),
    ]
