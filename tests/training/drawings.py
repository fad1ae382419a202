"""Sprites drawn by a program: shapes in colours, for tests and trials without any fetched picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.scenes.backgrounds import clouds
from training.scenes.bank import Bank, Photograph, Sprite
from training.scenes.vocabulary import Concept, Vocabulary

COLORS_RGB = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (35, 80, 220),
    "yellow": (245, 220, 40),
    "black": (15, 15, 15),
    "white": (250, 250, 250),
}
_CORNERS = {
    "triangle": ((0, 1), (1, 1), (0.5, 0)),
    "square": ((0, 0), (1, 0), (1, 1), (0, 1)),
    "cross": tuple(
        (x / 3, y / 3)
        for x, y in (
            (1, 0),
            (2, 0),
            (2, 1),
            (3, 1),
            (3, 2),
            (2, 2),
            (2, 3),
            (1, 3),
            (1, 2),
            (0, 2),
            (0, 1),
            (1, 1),
        )
    ),
    "diamond": ((0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)),
    "arrow": ((0, 0.35), (0.6, 0.35), (0.6, 0.1), (1, 0.5), (0.6, 0.9), (0.6, 0.65), (0, 0.65)),
}
_SIDE_PX = 96


def drawn_vocabulary() -> Vocabulary:
    """Return the words for drawn shapes."""
    return Vocabulary(
        [
            Concept("shape", ("figure",)),
            Concept("round shape", (), ("shape",)),
            Concept("angular shape", (), ("shape",)),
            Concept("circle", ("disc",), ("round shape",), ("ball",)),
            Concept("ring", ("hoop",), ("round shape",)),
            Concept("square", ("box",), ("angular shape",)),
            Concept("triangle", ("wedge",), ("angular shape",)),
            Concept("cross", ("plus sign",), ("angular shape",)),
            Concept("diamond", ("rhombus",), ("angular shape",)),
            Concept("arrow", ("pointer",), ("angular shape",)),
        ]
    )


def drawn_bank() -> Bank:
    """Return every shape in every colour, and two photographs of nothing, one of them unseen."""
    sprites = [
        Sprite(draw_shape(shape, rgb), "drawn", f"{color} {shape}", shape)
        for shape in ("circle", "ring", *_CORNERS)
        for color, rgb in COLORS_RGB.items()
    ]
    rng = np.random.default_rng(7)
    photographs = [Photograph(clouds(rng, 300, 400), f"clouds-{unseen}", unseen) for unseen in (False, True)]
    return Bank(sprites, photographs)


def draw_shape(shape: str, rgb: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Draw a shape, (96, 96, 4) uint8, that touches all four edges of its picture.

    Raises:
        ValueError: an unknown shape.
    """
    alpha = np.zeros((_SIDE_PX, _SIDE_PX), np.uint8)
    if shape in _CORNERS:
        corners = np.array(_CORNERS[shape]) * (_SIDE_PX - 1)
        cv2.fillPoly(alpha, [corners.round().astype(np.int32)], 255)
    elif shape in ("circle", "ring"):
        middle = (_SIDE_PX - 1) / 2
        across = np.hypot(*(np.indices(alpha.shape) - middle))
        alpha[across <= middle] = 255
        alpha[across <= (middle * 0.55 if shape == "ring" else -1)] = 0
    else:
        raise ValueError(f"unknown shape {shape!r}; expected one of {['circle', 'ring', *_CORNERS]}")
    return np.dstack([np.broadcast_to(np.array(rgb, np.uint8), (*alpha.shape, 3)), alpha])
