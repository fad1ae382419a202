import json

import numpy as np
import pytest
from drawings import drawn_bank
from PIL import Image

from training.data import fetch
from training.data.pack import SPRITE_SIDE_PX, Picture, pack, read_sprite
from training.scenes.bank import (
    SPLITS,
    STYLES,
    TRAIN,
    TRAIN_BASE,
    TRAINING_STYLES,
    UNSEEN_NAMES,
    UNSEEN_PICTURES,
    UNSEEN_STYLE,
    Bank,
    BankWriter,
    Split,
)
from training.scenes.vocabulary import Vocabulary, is_novel


def test_what_is_written_is_read(tmp_path):
    drawn = drawn_bank()
    with BankWriter(tmp_path) as writer:
        for sprite in drawn.sprites:
            writer.add_sprite(sprite.rgba, sprite.style, sprite.key, sprite.concept)
        for photograph in drawn.photographs:
            writer.add_photograph(photograph.rgb, photograph.key, photograph.unseen, ("tree", "house"))
    bank = Bank.open(tmp_path)
    assert len(bank.sprites) == len(drawn.sprites)
    for read, written in zip(bank.sprites, drawn.sprites, strict=True):
        assert (read.style, read.key, read.concept) == (written.style, written.key, written.concept)
        assert (read.rgba == written.rgba).all()
    assert [photograph.unseen for photograph in bank.photographs] == [False, True]
    assert bank.photographs[0].contains == ("tree", "house")
    assert (bank.photographs[1].rgb == drawn.photographs[1].rgb).all()


def test_folder_without_a_bank_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"training\.data\.fetch"):
        Bank.open(tmp_path)


def test_unknown_style_is_refused(tmp_path):
    with BankWriter(tmp_path) as writer, pytest.raises(ValueError, match="unknown style 'oil'"):
        writer.add_sprite(np.zeros((2, 2, 4), np.uint8), "oil", "a", "dog")


def test_evaluation_style_cannot_be_trained_on():
    with pytest.raises(ValueError, match="may not be trained on"):
        Split("mine", True, frozenset({"noto", "openmoji"}))
    assert "openmoji" not in TRAINING_STYLES
    for split in SPLITS.values():
        assert not (split.training and split.allows("openmoji", "1F436", "dog"))
    assert UNSEEN_STYLE.allows("openmoji", "1F436", "dog")
    assert "SA" not in "".join(STYLES[style].licence for style in TRAINING_STYLES)


def test_splits_do_not_share_pictures_names_or_photographs():
    names = sorted(Vocabulary.read().concepts)
    keys = [("noto", f"{number:X}", names[number % len(names)]) for number in range(3000)]
    train, unseen = ({key for key in keys if split.allows(*key)} for split in (TRAIN, UNSEEN_PICTURES))
    assert not train & unseen
    assert 0.07 < len(unseen) / len(keys) < 0.13
    assert not any(is_novel(name) for _, _, name in keys if TRAIN_BASE.allows_name(name))
    assert all(is_novel(name) for name in names if UNSEEN_NAMES.allows_name(name))
    seen = {photograph.key for photograph in drawn_bank().select(TRAIN).photographs}
    assert seen == {"clouds-False"}


def test_split_that_leaves_nothing_is_named():
    with pytest.raises(ValueError, match="unseen-style"):
        drawn_bank().select(UNSEEN_STYLE)


def save(path, rgba):
    Image.fromarray(rgba).save(path)
    return path


def test_sprites_are_cropped_shrunk_and_bled(tmp_path):
    rgba = np.zeros((500, 600, 4), np.uint8)
    rgba[100:400, 50:450] = (200, 40, 40, 255)
    rgba[100, 50, 3] = 0  # an invisible corner, black
    sprite = read_sprite(Picture("noto", "a", "dog", save(tmp_path / "a.png", rgba)))
    assert sprite.shape == (144, SPRITE_SIDE_PX, 4)
    assert (np.abs(sprite[..., :3].astype(int) - (200, 40, 40)) <= 2).all()


@pytest.mark.parametrize("unfit", ["empty", "card", "colors"])
def test_unfit_pictures_are_left_out(tmp_path, unfit):
    rgba, like = np.zeros((100, 100, 4), np.uint8), None
    if unfit == "card":
        rgba[:] = 255
        rgba[40:60, 40:60, :3] = 0
    if unfit == "colors":
        rgba[20:80, 20:80] = (200, 30, 30, 255)
        blue = np.where(rgba[..., 3:] > 0, np.uint8([30, 30, 200, 255]), rgba)
        like = save(tmp_path / "like.png", blue)
    picture = Picture("clipart", "a", "dog", save(tmp_path / "a.png", rgba), like)
    assert read_sprite(picture) is None
    assert pack([picture], [], tmp_path / "bank") == (0, 0)


def test_views_get_the_brightness_of_the_catalogue(tmp_path):
    rgba = np.zeros((60, 60, 4), np.uint8)
    rgba[10:50, 10:50] = (60, 60, 60, 255)
    like = rgba.copy()
    like[..., :3] *= 2
    picture = Picture(
        "furniture-render", "a", "chair", save(tmp_path / "a.png", rgba), save(tmp_path / "b.png", like)
    )
    assert read_sprite(picture)[20, 20, 0] == 120


def test_plan_lists_every_source(tmp_path):
    unpacked = tmp_path / "unpacked"
    (unpacked / "fluent-3d").mkdir(parents=True)
    for row in fetch.rows("emoji.tsv"):
        if row["fluent3d"]:
            (unpacked / "fluent-3d" / row["fluent3d"]).touch()
    for style in ("noto", "fluent-flat", "twemoji", "openmoji"):
        (unpacked / style / "package").mkdir(parents=True)
        content = {
            "height": 72,
            "icons": {"dog": {"body": "<path/>", "width": 36}, "unused": {"body": "<g/>"}},
        }
        (unpacked / style / "package" / "icons.json").write_text(json.dumps(content))
    pictures, jobs = fetch.plan(unpacked, tmp_path / "pictures")
    assert {picture.style for picture in pictures} == STYLES.keys() - {"drawn"}
    assert len({(picture.style, picture.key, picture.file) for picture in pictures}) == len(pictures)
    (noto,) = (job for job in jobs if "noto" in job["out"])
    assert 'viewBox="0 0 36 72"' in noto["svg"]
    assert "<path/>" in noto["svg"]


def test_missing_client_is_named(tmp_path):
    with pytest.raises(SystemExit, match="no-such-client was not found"):
        fetch.run("no-such-client", cwd=tmp_path)
    with pytest.raises(SystemExit, match="false failed"):
        fetch.run("false", cwd=tmp_path)
