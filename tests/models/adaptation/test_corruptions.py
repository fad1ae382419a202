"""What spoils pictures: repeatable, of the same shape, worse with the severity."""

import numpy as np
import pytest
from temporal_parts import moving_clip

from groundstream.models.adaptation.corruptions import CORRUPTIONS, add_noise, corrupt


@pytest.fixture(scope="module")
def clip():
    moving = moving_clip(frames=8, height=96, width=128)
    return moving.frames, moving.times_s


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_corruption(clip, kind):
    frames, times_s = clip
    before = frames.copy()
    spoiled = {}
    for severity in (0.0, 0.3, 1.0):
        spoiled[severity], again = (
            corrupt(frames, times_s, kind, severity, np.random.default_rng(5)) for _ in range(2)
        )
        assert (spoiled[severity].shape, spoiled[severity].dtype) == (frames.shape, np.uint8)
        assert (spoiled[severity] == again).all()
    assert (frames == before).all()
    assert (spoiled[0.0] == frames).all()
    changes = [np.abs(spoiled[severity].astype(int) - frames).mean() for severity in (0.3, 1.0)]
    assert 0 < changes[0] < changes[1]


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_corruption_of_a_still_of_odd_size(kind):
    still = np.random.default_rng(0).integers(0, 256, (1, 61, 75, 3), dtype=np.uint8)
    spoiled = corrupt(still, np.zeros(1), kind, 0.8, np.random.default_rng(0))
    assert spoiled.shape == still.shape
    assert (spoiled != still).any()


def test_weather_follows_the_clock(clip):
    frames, _ = clip
    still = np.repeat(frames[:1], 3, axis=0)
    for kind in ("rain", "occluders"):
        first = corrupt(still, np.array([0.0, 0.1, 0.2]), kind, 0.7, np.random.default_rng(0))
        later = corrupt(still, np.array([0.0, 0.2, 0.3]), kind, 0.7, np.random.default_rng(0))
        assert (first[2] == later[1]).all()


def test_dirt_stays_in_place(clip):
    frames, _ = clip
    still = np.repeat(frames[:1], 2, axis=0)
    spoiled = corrupt(still, np.array([0.0, 5.0]), "dirt", 0.7, np.random.default_rng(0))
    assert (spoiled[0] == spoiled[1]).all()


def test_wrong_arguments_are_named(clip):
    frames, times_s = clip
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="unknown corruption 'fog'"):
        corrupt(frames, times_s, "fog", 0.5, rng)
    with pytest.raises(ValueError, match=r"0\.\.1, but got 2"):
        corrupt(frames, times_s, "noise", 2, rng)
    with pytest.raises(ValueError, match="expected 8 times"):
        corrupt(frames, times_s[:3], "noise", 0.5, rng)


def test_noise_for_pictures_larger_than_its_sheet():
    gray = np.full((1700, 1700, 3), 128, np.uint8)
    noisy = add_noise(gray, 0.5, np.random.default_rng(0)).astype(int)
    assert noisy.std() == pytest.approx(27.5, rel=0.1)
    assert noisy.mean() == pytest.approx(128, abs=1)
