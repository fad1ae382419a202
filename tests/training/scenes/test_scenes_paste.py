import numpy as np
import pytest

from training.scenes.paste import (
    SOLID,
    Canvas,
    Placement,
    cast_shadow,
    light,
    make_patch,
)


def card(width=20, height=10, rgb=(200, 100, 50), alpha=255):
    return np.full((height, width, 4), (*rgb, alpha), np.uint8)


def canvas(side=100):
    return Canvas(np.zeros((side, side, 3), np.uint8))


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        (Placement((50, 50), 1.0), (40, 45, 60, 55)),
        (Placement((50, 50), 2.0), (30, 40, 70, 60)),
        (Placement((50, 50), 0.5), (45, 47, 55, 53)),
        (Placement((50, 50), 1.0, flip=True), (40, 45, 60, 55)),
        (Placement((50, 50), 1.0, angle_deg=90), (45, 40, 55, 60)),
        (Placement((0, 50), 1.0), (-10, 45, 10, 55)),
    ],
)
def test_box_is_where_the_object_is(placement, expected):
    board = canvas()
    board.add_object(make_patch(card(), placement))
    (seen,) = board.seen()
    assert np.abs(seen.box_amodal - expected).max() <= 1
    assert np.abs(seen.box - np.clip(expected, 0, 100)).max() <= 1


def test_flip_and_turn_move_the_pixels():
    rgba = card(rgb=(0, 0, 0))
    rgba[:5, :10, :3] = 255  # the top-left quarter
    whites = {}
    for name, placement in {
        "plain": Placement((10, 5), 1.0),
        "flipped": Placement((10, 5), 1.0, flip=True),
        "turned": Placement((10, 5), 1.0, angle_deg=180),
    }.items():
        white = make_patch(rgba, placement).rgba[..., 0] > 128
        whites[name] = tuple(np.argwhere(white).mean(axis=0).round(1))
    assert whites["plain"] == (2.0, 4.5)
    assert whites["flipped"] == pytest.approx((2.0, 14.5), abs=1)
    assert whites["turned"] == pytest.approx((7.0, 14.5), abs=1)


def test_visibility_counts_what_covers():
    board = canvas()
    board.add_object(make_patch(card(), Placement((50, 50), 1.0)))
    board.add_object(make_patch(card(), Placement((60, 50), 1.0)))
    board.add_occluder(make_patch(card(10, 10), Placement((65, 50), 1.0)))
    below, above = board.seen()
    assert (below.visibility, above.visibility) == (0.5, 0.5)
    assert below.box.tolist() == [40, 45, 50, 55]
    assert below.box_amodal.tolist() == [40, 45, 60, 55]


def test_boxes_equal_a_count_of_pixels():
    rng = np.random.default_rng(0)
    for _ in range(30):
        rgba = card(int(rng.integers(5, 60)), int(rng.integers(5, 60)))
        rgba[..., 3] = 255 * (rng.random(rgba.shape[:2]) < 0.3)
        place = Placement(
            (float(rng.uniform(0, 100)), float(rng.uniform(0, 100))), 1.3, float(rng.uniform(0, 360))
        )
        patch = make_patch(rgba, place)
        board = canvas()
        board.add_object(patch)
        (seen,) = board.seen()
        big = np.zeros((400, 400), bool)
        height, width = patch.rgba.shape[:2]
        big[150 + patch.top : 150 + patch.top + height, 150 + patch.left : 150 + patch.left + width] = (
            patch.rgba[..., 3] > SOLID
        )
        rows, columns = np.nonzero(big)
        assert seen.box_amodal.tolist() == [
            columns.min() - 150,
            rows.min() - 150,
            columns.max() - 149,
            rows.max() - 149,
        ]
        inside = big[150:250, 150:250]
        assert seen.pixels == inside.sum()
        assert seen.visibility == pytest.approx(inside.sum() / big.sum())


def test_outside_nothing_is_seen():
    board = canvas()
    board.add_object(make_patch(card(), Placement((-50, 50), 1.0)))
    (seen,) = board.seen()
    assert (seen.visibility, seen.pixels, seen.box.tolist()) == (0, 0, [0, 0, 0, 0])
    assert seen.box_amodal.tolist() == [-60, 45, -40, 55]
    assert not board.picture.any()


def test_alpha_blends():
    board = Canvas(np.full((20, 20, 3), 100, np.uint8))
    board.add_object(make_patch(card(rgb=(200, 200, 200), alpha=128), Placement((10, 10), 1.0)))
    assert board.picture[10, 10, 0] == pytest.approx(150, abs=2)


def test_light_never_passes_alpha():
    patch = light(
        make_patch(card(alpha=100), Placement((10, 5), 1.0)), 3.0, (0.5, 0.5), np.ones(3, np.float32)
    )
    assert (patch.rgba[..., :3] <= patch.rgba[..., 3:]).all()
    assert patch.rgba[..., 0].max() == 100


def test_shadow_darkens_only_near_the_object():
    picture = np.full((100, 100, 3), 200, np.uint8)
    cast_shadow(picture, make_patch(card(), Placement((50, 50), 1.0)), (0.2, 0.2), 1.0, 0.5)
    assert picture[52, 54].max() < 150
    assert (picture[:30] == 200).all()
    assert (picture[:, :20] == 200).all()
