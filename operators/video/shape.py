"""A zone or a line as it is drawn: a value that clips carry, apart from what draws it (OpenCV)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """A zone or a line as it is drawn.

    Attributes:
        name: written beside its first point.
        points: corners in parts of the picture, 0..1, from the top left.
        closed: True for a zone, False for a line.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    closed: bool
