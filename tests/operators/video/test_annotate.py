from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from groundstream.operators.clips.spec import Shape
from groundstream.operators.video.annotate import Annotator


def black(height: int = 240, width: int = 320) -> NDArray[np.uint8]:
    return np.zeros((height, width, 3), np.uint8)


def yellow_at(picture: NDArray[np.uint8], x: float, y: float) -> bool:
    """Tell whether the pixel at (x, y), parts of the picture, or one beside it is yellow."""
    height, width = picture.shape[:2]
    column, row = round(x * (width - 1)), round(y * (height - 1))
    near = picture[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].reshape(-1, 3)
    return bool(((near[:, 0] < 60) & (near[:, 1:].min(axis=1) > 80)).any())  # the edge of a line is darker


def draw(annotator: Annotator, picture: NDArray[np.uint8], shape: Shape) -> NDArray[np.uint8]:
    return annotator.outline(picture, shape.name, shape.points, closed=shape.closed)


ZONE = Shape("path", ((0.2, 0.3), (0.8, 0.3), (0.6, 0.9)), closed=True)
LINE = Shape("road", ((0.1, 0.5), (0.9, 0.6)), closed=False)


@pytest.mark.parametrize("size", [(240, 320), (135, 241), (720, 1280)])
@pytest.mark.parametrize("shape", [ZONE, LINE], ids=["zone", "line"])
def test_shapes_are_drawn_where_they_are(size: tuple[int, int], shape: Shape) -> None:
    picture = draw(Annotator(*size), black(*size), shape)
    corners = [*shape.points, shape.points[0]] if shape.closed else shape.points
    for (x1, y1), (x2, y2) in pairwise(corners):
        for part in (0.3, 0.5, 0.7):
            assert yellow_at(picture, x1 + part * (x2 - x1), y1 + part * (y2 - y1))
    assert not yellow_at(picture, 0.95, 0.95)


def test_a_line_is_not_closed() -> None:
    bent = Shape("", ((0.1, 0.2), (0.5, 0.9), (0.9, 0.2)), closed=False)
    assert not yellow_at(draw(Annotator(240, 320), black(), bent), 0.5, 0.2)


def test_the_clock_is_in_the_lower_left_corner_and_tells_milliseconds_apart() -> None:
    first, second = (Annotator(240, 320).clock(black(), wall) for wall in (1.7e9, 1.7e9 + 0.008))
    assert first[200:, :200].max() > 200
    assert not first[:200].any()
    assert (first != second).any()


@pytest.mark.parametrize("size", [(16, 16), (48, 900)])
def test_text_that_does_not_fit_is_no_trouble(size: tuple[int, int]) -> None:
    annotator = Annotator(*size)
    edge = Shape(
        "a name that is much longer than the picture is wide", ((1.0, 0.0), (0.0, 1.0)), closed=False
    )
    assert annotator.clock(draw(annotator, black(*size), edge), 0.0).any()
