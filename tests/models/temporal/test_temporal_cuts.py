"""Scene cuts in features as glip-nano makes them of a real frame, and in descriptors made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from groundstream.models.nano.grounder import NanoGrounder
from groundstream.models.temporal.scene_cut import FLASH_S, REMEMBERED, SceneCuts, Verdict, describe

STREET = Path(__file__).parents[2] / "data" / "nano" / "street.png"
SAME, CUT, AGAIN, BACK = Verdict.SAME, Verdict.CUT, Verdict.AGAIN, Verdict.BACK


@pytest.fixture(scope="module")
def grounder() -> NanoGrounder:
    return NanoGrounder.from_name("glip-nano", device="cpu", dtype="float32")


def frame(change: str = "") -> NDArray[np.float32]:
    """Return (256, 416, 3) of a street, or what a change makes of it."""
    street = np.array(Image.open(STREET).convert("RGB").resize((416, 256)), np.float32)
    picture = torch.from_numpy(street).permute(2, 0, 1)[None]
    changed = {
        "": lambda: picture,
        "dark": lambda: picture * 0.4,
        "bright": lambda: picture * 1.5 + 20,
        "noise": lambda: (
            picture + 20 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
        ),
        "blur": lambda: F.interpolate(F.avg_pool2d(picture, 4), (256, 416), mode="bilinear"),
        "moved": lambda: picture.roll(16, 3),
        "white": lambda: torch.full_like(picture, 250.0),
        "another": lambda: F.interpolate(picture[:, :, 128:192, 208:312], (256, 416)).flip(3),
    }[change]()
    return changed.clamp(0, 255)[0].permute(1, 2, 0).numpy()


def descriptor(grounder: NanoGrounder, change: str = "") -> NDArray[np.float32]:
    pixels = torch.from_numpy(frame(change).astype(np.uint8))[None]
    features = grounder.encode_image(pixels, torch.tensor([[256, 416]]))
    return describe(features.levels[:3])[0]


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ("dark", SAME),
        ("bright", SAME),
        ("noise", SAME),
        ("blur", SAME),
        ("moved", SAME),
        ("white", CUT),
        ("another", CUT),
    ],
)
def test_only_another_scene_is_a_cut(grounder: NanoGrounder, change: str, verdict: Verdict) -> None:
    cuts = SceneCuts()
    assert cuts.update(descriptor(grounder), 0.0) is SAME
    assert cuts.update(descriptor(grounder, change), 0.04) is verdict
    if verdict is CUT:
        assert cuts.update(descriptor(grounder), 0.08) is BACK


def test_flicker_of_gain_is_no_cut(grounder: NanoGrounder) -> None:
    cuts = SceneCuts()
    dark, bright = descriptor(grounder, "dark"), descriptor(grounder, "bright")
    verdicts = {cuts.update((dark, bright)[n % 2], n / 25) for n in range(20)}
    assert verdicts == {SAME}


def test_a_picture_is_described_alike_alone_and_in_a_batch(grounder: NanoGrounder) -> None:
    levels = [torch.randn(3, 8, size, size + 2) for size in (16, 8, 4, 2)]
    whole = describe(levels)
    assert whole.shape == (3, 8 * 16)
    assert whole.dtype == np.float32
    np.testing.assert_allclose((whole**2).sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(describe([level[1:2] for level in levels])[0], whole[1])


def unit(*angles: float) -> list[NDArray[np.float32]]:
    """Return descriptors in a plane, by their angles in degrees; a cut is above 73."""
    return [np.array([np.cos(np.radians(a)), np.sin(np.radians(a))], np.float32) for a in angles]


@pytest.mark.parametrize(
    ("angles", "verdicts"),
    [
        ((0, 90, 90, 90), (SAME, CUT, SAME, SAME)),
        ((0, 90, 0, 0), (SAME, CUT, BACK, SAME)),
        ((0, 90, 95, 10), (SAME, CUT, SAME, BACK)),
        ((0, 90, 180, 5), (SAME, CUT, AGAIN, BACK)),
        ((0, 90, 0, 90, 0), (SAME, CUT, BACK, CUT, BACK)),
        ((0, 60, 120, 180), (SAME, SAME, SAME, SAME)),
    ],
)
def test_what_follows_on_what(angles: tuple[float, ...], verdicts: tuple[Verdict, ...]) -> None:
    cuts = SceneCuts()
    assert tuple(cuts.update(one, number / 25) for number, one in enumerate(unit(*angles))) == verdicts


def test_an_old_scene_does_not_come_back_after_the_time_of_a_flash() -> None:
    cuts = SceneCuts()
    a, b = unit(0, 90)
    assert [cuts.update(one, t) for one, t in ((a, 0.0), (b, 0.04))] == [SAME, CUT]
    assert cuts.waiting
    assert cuts.update(b, 0.1 + FLASH_S) is SAME
    assert not cuts.waiting
    assert cuts.update(a, 0.2 + FLASH_S) is CUT


def test_a_restless_stream_has_a_higher_limit() -> None:
    cuts = SceneCuts()
    a, b, c = unit(0, 65, 75)
    for number in range(2 * REMEMBERED):
        assert cuts.update((a, b)[number % 2], number / 25) is SAME
    assert cuts.update(a, 100.0) is SAME
    assert cuts.update(c, 100.04) is CUT  # regular unrest raises the limit by nothing beyond its own size
    noisy = SceneCuts()
    steps = np.random.default_rng(0).uniform(20, 68, 4 * REMEMBERED)
    angle = 0.0
    for number, step in enumerate(steps):
        noisy.update(unit(angle)[0], number / 25)
        angle += step
    assert noisy.update(unit(angle + 10)[0], 50.0) is SAME
