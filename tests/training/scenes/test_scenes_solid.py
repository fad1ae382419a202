"""Making flat pictures of things look photographed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from drawings import drawn_bank, drawn_vocabulary

from training.scenes.bank import TRAIN
from training.scenes.generator import SceneConfig, SceneGenerator
from training.scenes.solid import (
    Rgba,
    Rng,
    bend,
    make_solid,
    mute,
    roughen,
    round_off,
    soften,
)


def disc() -> Rgba:
    """A red disc of 60 pixels on transparent ground."""
    y, x = np.mgrid[:64, :80]
    inside = (y - 32) ** 2 + (x - 40) ** 2 < 30**2
    rgba = np.zeros((64, 80, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, 255 * inside
    return rgba


@pytest.mark.parametrize("change", [round_off, roughen, mute])
def test_light_and_structure_leave_the_outline(change: Callable[[Rgba, Rng], Rgba]) -> None:
    before = disc()
    after = change(before, np.random.default_rng(1))
    np.testing.assert_array_equal(after[..., 3], before[..., 3])
    assert (after[..., :3] != before[..., :3]).any()
    assert before[32, 40, 0] == 200  # the bank's picture is not written on


@pytest.mark.parametrize("change", [bend, soften])
def test_bending_and_blur_keep_most_of_the_thing(change: Callable[[Rgba, Rng], Rgba]) -> None:
    before = disc()
    for seed in range(5):
        after = change(before, np.random.default_rng(seed))
        assert after.shape == before.shape
        assert 0.6 < (after[..., 3] > 64).sum() / (before[..., 3] > 64).sum() < 1.3


def test_rounding_makes_one_side_lighter_than_the_other() -> None:
    lit = round_off(disc(), np.random.default_rng(0))[..., 0].astype(float)
    inside = disc()[..., 3] > 0
    assert lit[inside].std() > 10


def test_tiny_pictures_pass() -> None:
    for seed in range(20):
        tiny = np.full((3, 2, 4), 255, np.uint8)
        assert make_solid(tiny, np.random.default_rng(seed)).shape == tiny.shape


def test_scenes_without_solid_things_are_what_they_were() -> None:
    bank, vocabulary = drawn_bank(), drawn_vocabulary()
    plain, solid = (
        SceneGenerator(bank, vocabulary, TRAIN, SceneConfig(96, 96, seed=3, solid=share)).sample(0)
        for share in (0.0, 1.0)
    )
    again = SceneGenerator(bank, vocabulary, TRAIN, SceneConfig(96, 96, seed=3)).sample(0)
    np.testing.assert_array_equal(plain.picture, again.picture)
    assert (plain.picture != solid.picture).any()
