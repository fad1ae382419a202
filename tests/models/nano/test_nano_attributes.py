"""Colours and sizes of boxes."""

from __future__ import annotations

import pytest
import torch

from groundstream.models.common.tensor_file import read_tensors
from groundstream.models.nano.attributes import (
    WRONG_SIZE,
    ColourNamer,
    attribute_factors,
    brighten,
    colour_shares,
    size_factors,
    to_lab,
)
from groundstream.models.nano.config import SHIPPED
from groundstream.models.nano.parse import COLOURS


@pytest.fixture(scope="module")
def namer() -> ColourNamer:
    tensors = read_tensors(SHIPPED)
    namer = ColourNamer()
    namer.load_state_dict({name: tensors[f"colours.{name}"].float() for name in namer.state_dict()})
    return namer.eval().requires_grad_(False)


def asked(*colours: str, size: float = 0.0) -> list[float]:
    return [float(name in colours) for name in COLOURS] + [size]


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20)),
        ((0.0, 0.0, 1.0), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_of_known_colours(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    torch.testing.assert_close(to_lab(torch.tensor(rgb)), torch.tensor(lab), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((20, 20, 22), "black"),
        ((245, 245, 240), "white"),
        ((128, 130, 128), "gray"),
        ((200, 20, 30), "red"),
        ((30, 140, 40), "green"),
        ((30, 70, 200), "blue"),
        ((250, 220, 40), "yellow"),
        ((250, 130, 20), "orange"),
        ((120, 30, 150), "purple"),
        ((255, 150, 200), "pink"),
        ((110, 65, 30), "brown"),
    ],
)
def test_plain_colours_have_their_names(namer: ColourNamer, rgb: tuple[int, ...], name: str) -> None:
    assert COLOURS[int(namer(torch.tensor(rgb) / 255).argmax())] == name


def test_the_middle_of_the_box_decides(namer: ColourNamer) -> None:
    picture = torch.zeros(3, 40, 40)  # black, with a red square in the middle of the right half
    picture[0, 10:30, 22:38] = 0.9
    boxes = torch.tensor([[0.0, 0, 80, 160], [80, 0, 160, 160], [92, 44, 148, 116]])
    shares = colour_shares(namer, boxes, picture, 0.25)
    torch.testing.assert_close(shares.sum(1), torch.ones(3))
    red = shares[:, COLOURS.index("red")]
    assert red[0] < 0.02 < 0.3 < red[1] < red[2]
    assert red[2] > 0.9


def test_factors_follow_what_was_asked(namer: ColourNamer) -> None:
    picture = torch.zeros(3, 40, 40)
    picture[0] = 0.9
    boxes = torch.tensor([[20.0, 20, 140, 140]])
    attributes = torch.tensor([asked(), asked("red"), asked("blue"), asked("blue", "red"), asked(size=-1)])
    ((plain, red, blue, either, small),) = attribute_factors(
        namer, boxes, attributes, picture, (160, 160)
    ).tolist()
    assert (plain, red, either) == (1.0, 1.0, 1.0)
    assert blue < 0.05
    assert WRONG_SIZE <= small < WRONG_SIZE + 0.1


def test_no_box_no_factor(namer: ColourNamer) -> None:
    factors = attribute_factors(
        namer, torch.zeros(0, 4), torch.tensor([asked("red", size=1)]), torch.zeros(3, 4, 4), (16, 16)
    )
    assert factors.shape == (0, 1)


def test_small_and_large_rank_opposite_ways() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 80, 80], [0, 0, 300, 300]])
    small, any_size, large = size_factors(boxes, torch.tensor([-1.0, 0.0, 1.0]), (400, 400)).T
    assert small[0] > small[1] > small[2]
    assert large[0] < large[1] < large[2]
    assert any_size.tolist() == [1.0, 1.0, 1.0]


def test_a_dim_white_is_white_but_a_dark_picture_stays_dark() -> None:
    assert brighten(torch.full((3, 8, 8), 0.7)).amax() == 1
    assert brighten(torch.full((3, 8, 8), 0.1)).amax() < 0.25
