from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundstream.operators.events.rules import ON_LINE, CountLine, Point, Zone
from groundstream.operators.events.track import distances, inside, meets, standing_points

SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
PARTS = st.floats(0, 1, allow_nan=False)
POINTS = st.tuples(PARTS, PARTS)


def zone(*polygon: Point, **more: object) -> Zone:
    return Zone("door", polygon, **more)  # type: ignore[arg-type]


@st.composite
def polygons(draw: st.DrawFn) -> tuple[Point, ...]:
    """Corners around a middle, in the order of their angle: such sides never cross."""
    angles = sorted(draw(st.sets(st.integers(0, 359), min_size=3, max_size=12)))
    reaches = draw(st.lists(st.floats(0.05, 0.5), min_size=len(angles), max_size=len(angles)))
    return tuple(
        (0.5 + reach * math.cos(math.radians(angle)), 0.5 + reach * math.sin(math.radians(angle)))
        for angle, reach in zip(angles, reaches, strict=True)
    )


@given(polygons(), st.lists(POINTS, min_size=1, max_size=20))
def test_what_a_polygon_holds_is_what_opencv_says(polygon: tuple[Point, ...], points: list[Point]) -> None:
    contour = np.array(polygon, np.float32)
    away = np.array([cv2.pointPolygonTest(contour, point, measureDist=True) for point in points])
    clear = np.abs(away) > 1e-5  # its numbers are float32
    held = inside(polygon, np.array(points))
    np.testing.assert_array_equal(held[clear], away[clear] > 0)


@given(polygons(), POINTS, st.integers(0, 11))
def test_the_order_of_corners_means_nothing(polygon: tuple[Point, ...], point: Point, turn: int) -> None:
    turned = polygon[turn % len(polygon) :] + polygon[: turn % len(polygon)]
    points = np.array([point])
    assert inside(polygon, points) == inside(turned, points)


@given(st.integers(0, 64), st.integers(0, 64))
def test_every_point_is_in_exactly_one_of_zones_that_share_a_side(column: int, row: int) -> None:
    quarters = [
        ((x, y), (x + 0.5, y), (x + 0.5, y + 0.5), (x, y + 0.5)) for x in (0.0, 0.5) for y in (0.0, 0.5)
    ]
    x, y = column / 64, row / 64
    points = standing_points(np.array([[x - 0.01, y - 0.1, x + 0.01, y]]))
    assert sum(int(inside(quarter, points)[0]) for quarter in quarters) == 1


def test_boxes_that_the_picture_cuts_off_stand_in_zones_that_reach_its_edge() -> None:
    boxes = np.array([[0.4, 0.5, 0.6, 1.0], [-0.1, 0.9, 0.1, 1.0], [1, 0.9, 1, 1.2], [0, -0.1, 0, 0]])
    points = standing_points(boxes)
    np.testing.assert_allclose(points, [(0.5, 1), (0, 1), (1, 1), (0, 0)], atol=1e-5)
    assert inside(SQUARE, points).all()


def test_no_points_are_no_answer() -> None:
    assert inside(SQUARE, np.zeros((0, 2))).shape == (0,)
    assert distances(CountLine("road", (0, 0), (1, 1)), np.zeros((0, 2))).shape == (0,)


def test_right_of_a_line_is_right_of_who_walks_along_it() -> None:
    across = CountLine("road", (0.0, 0.5), (1.0, 0.5))
    below, above, on_it = distances(across, np.array([[0.3, 0.6], [0.3, 0.4], [0.3, 0.5 + ON_LINE / 2]]))
    assert (below, above, on_it) == (pytest.approx(0.1), pytest.approx(-0.1), 0)


@given(POINTS, POINTS)
def test_a_way_meets_a_line_between_its_ends_whichever_way_it_is_gone(before: Point, after: Point) -> None:
    line = CountLine("road", (0.25, 0.5), (0.75, 0.5))
    sides = distances(line, np.array([before, after]))
    if sides[0] * sides[1] >= 0:
        return
    part = (0.5 - before[1]) / (after[1] - before[1])
    at = before[0] + part * (after[0] - before[0])
    if min(abs(at - 0.25), abs(at - 0.75)) > 1e-9:
        assert meets(line, before, after) == meets(line, after, before) == (0.25 < at < 0.75)


@pytest.mark.parametrize(
    ("polygon", "said"),
    [
        (((0, 0), (1, 1)), r"zone 'door': expected at least 3 corners, but got 2"),
        (((0, 0), (1.2, 0), (1, 1)), r"expected coordinates in 0\.\.1 .*, but got \(1\.2, 0\)"),
        (((0, 0), (640, 0), (640, 480)), r"but got \(640, 0\)"),
        (((0, 0), (float("nan"), 0), (1, 1)), r"expected coordinates in 0\.\.1"),
        (((0, 0), (1, 1), (1, 0), (0, 1)), r"side 1 meets side 3; give the corners in the order"),
        (((0, 0), (0.5, 0), (1, 0)), r"sides that do not meet"),
        (((0, 0), (1, 0), (1, 0), (1, 1)), r"side 2 meets side 2"),
        (((0, 0), (1, 0), (0.5, 0.5), (1, 1), (0, 1), (0.5, 0.5)), r"sides that do not meet"),
    ],
)
def test_polygons_that_are_no_area_are_refused(polygon: tuple[Point, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        zone(*polygon)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"score": 0}, "expected a score above 0 and up to 1, but got 0"),
        ({"score": 1.5}, "but got 1.5"),
        ({"phrases": ("person", " ")}, "a phrase is empty"),
        ({"dwell_s": 0}, "expected dwell_s above 0 seconds, but got 0"),
    ],
)
def test_other_values_of_zones_are_checked(more: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        zone(*SQUARE, **more)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("road", (0.5, 0.5), (0.5, 0.5)), "expected two ends apart"),
        (("road", (0, 0), (0, 2)), r"line 'road': expected coordinates in 0\.\.1"),
        ((" ", (0, 0), (1, 1)), "the name is empty"),
        (("road", (0, 0), (1, 1), (), None, "up"), "expected the direction left or right, but got 'up'"),
    ],
)
def test_lines_are_checked(values: tuple[object, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CountLine(*values)  # type: ignore[arg-type]
