"""Where objects stand, and on which side of zones and lines.

An object is where it stands: the middle of its box's lower edge, as in Frigate, for zones and lines alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from groundstream.operators.events.zones import ON_LINE, CountLine, Point

# A box that the picture cuts off stands on its very edge, and is inside a zone that reaches it.
_INSIDE = 1 - 1e-6


def standing_points(boxes_norm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where objects stand, (N, 2) in 0..1, for (N, 4) xyxy boxes in parts of the picture."""
    points = np.column_stack([(boxes_norm[:, 0] + boxes_norm[:, 2]) / 2, boxes_norm[:, 3]])
    return np.clip(points, 0.0, _INSIDE)


def inside(polygon: Sequence[Point], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell for each of (N, 2) points whether the polygon holds it, by counting the sides left of it.

    A point on a side that two polygons share is in exactly one of them. Source: the even-odd rule, Shimrat,
    "Algorithm 112: Position of point relative to polygon", CACM 5 (1962).
    """
    corners = np.asarray(polygon, np.float64)
    x1, y1 = corners.T  # (E,)
    x2, y2 = np.roll(corners, -1, axis=0).T
    x, y = points[:, :1], points[:, 1:]  # (N, 1)
    spans = (y1 > y) != (y2 > y)  # (N, E): sides that the horizontal through the point meets
    rise = np.where(y1 == y2, 1.0, y2 - y1)  # a level side spans nothing
    right_of_point = x < x1 + (y - y1) * (x2 - x1) / rise
    return np.asarray((spans & right_of_point).sum(axis=1) % 2 == 1)


def distances(line: CountLine, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (N,) distances of (N, 2) points from the endless line: above 0 on its right, else below.

    0 stands for everything nearer than `ON_LINE`.
    """
    along = np.subtract(line.end, line.start)
    away = points - np.asarray(line.start)
    signed = (along[0] * away[:, 1] - along[1] * away[:, 0]) / np.hypot(*along)
    return np.where(np.abs(signed) < ON_LINE, 0.0, signed)


def meets(line: CountLine, before: Point, after: Point) -> bool:
    """Tell whether the straight way from `before` to `after`, on different sides, meets the line itself."""
    (ax, ay), (bx, by) = line.start, line.end
    dx, dy = after[0] - before[0], after[1] - before[1]
    across = dx * (by - ay) - dy * (bx - ax)
    if across == 0:
        return False
    part = (dx * (before[1] - ay) - dy * (before[0] - ax)) / across
    return 0 <= part <= 1
