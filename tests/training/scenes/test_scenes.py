import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawings import COLORS_RGB, draw_shape, drawn_bank, drawn_vocabulary
from PIL import Image

from training.scenes import preview
from training.scenes.bank import TRAIN, UNSEEN_COMPOSITIONS, Bank, BankWriter
from training.scenes.generator import LEAST_PIXELS, SceneConfig, SceneGenerator
from training.scenes.style import STYLINGS

PLAIN = SceneConfig(160, 200, most_objects=5, phrases=12, present=6, restyle=0.0, spoil=0.0)


def generator(split=TRAIN, **changes):
    return SceneGenerator(drawn_bank(), drawn_vocabulary(), split, replace(PLAIN, **changes))


def digest(sample):
    parts = [
        sample.picture.tobytes(),
        sample.boxes.tobytes(),
        sample.truth.tobytes(),
        repr(sample.phrases).encode(),
    ]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_same_seed_same_pixels():
    scenes = generator(restyle=0.5, spoil=1.0)
    first = [digest(scenes.sample(index)) for index in range(12)]
    again = generator(restyle=0.5, spoil=1.0)
    assert [digest(again.sample(index)) for index in reversed(range(12))] == first[::-1]
    assert len(set(first)) == 12


def test_seed_and_split_change_the_scene():
    scenes = [generator(), generator(seed=1), generator(UNSEEN_COMPOSITIONS)]
    assert len({digest(scene.sample(3)) for scene in scenes}) == 3


def test_shapes_types_and_ranges():
    scenes = generator(restyle=0.5, spoil=1.0)
    for index in range(40):
        sample = scenes.sample(index)
        count = len(sample.objects)
        assert (sample.picture.shape, sample.picture.dtype) == ((160, 200, 3), np.uint8)
        assert sample.boxes.shape == sample.boxes_amodal.shape == (count, 4)
        assert sample.boxes.dtype == sample.boxes_amodal.dtype == sample.visibility.dtype == np.float32
        assert sample.truth.shape == (len(sample.phrases), count)
        assert ((sample.visibility > 0) & (sample.visibility <= 1)).all()
        sides = sample.boxes[:, 2:] - sample.boxes[:, :2]
        assert (sides.prod(axis=1) >= LEAST_PIXELS).all()
        assert (sample.boxes >= 0).all()
        assert (sample.boxes[:, 2:] <= (200, 160)).all()
        assert (sample.boxes[:, :2] >= sample.boxes_amodal[:, :2]).all()
        assert (sample.boxes[:, 2:] <= sample.boxes_amodal[:, 2:]).all()
        assert len({phrase.casefold() for phrase in sample.phrases}) == len(sample.phrases)


def key_fits(phrase, key):
    """Read truth off the key of a drawn sprite ("red circle"), in a way of its own."""
    color, shape = key.split()
    words = phrase.split()
    named = [
        word for word in words if word in (*COLORS_RGB, "gray", "grey", "orange", "purple", "pink", "brown")
    ]
    round_shape = shape in ("circle", "ring")
    if ("angular" in words and round_shape) or ("round" in words and not round_shape):
        return False
    if not {"shape", "shapes", "figure", "figures"} & set(words):
        nouns = {
            "circle": "circle disc",
            "ring": "ring hoop",
            "square": "square box",
            "triangle": "triangle wedge",
        }
        nouns |= {"cross": "cross plus", "diamond": "diamond rhombus", "arrow": "arrow pointer"}
        spoken = (
            {word.removesuffix("es") for word in words}
            | {word.removesuffix("s") for word in words}
            | set(words)
        )
        if not spoken & set(nouns[shape].split()):
            return False
    return named in ([], [color])


def test_truth_is_what_the_pictures_show():
    scenes = generator()
    fits, asked = 0, 0
    for index in range(150):
        sample = scenes.sample(index)
        for phrase, row in zip(sample.phrases, sample.truth, strict=True):
            if {"small", "little", "tiny", "large", "big", "huge"} & set(phrase.split()):
                continue
            for thing, fit in zip(sample.objects, row, strict=True):
                assert fit == key_fits(phrase, thing.key), (phrase, thing.key)
        fits += int(sample.truth.any(axis=1).sum())
        asked += len(sample.phrases)
    assert 0.1 < fits / asked < 0.6


def test_size_words_follow_the_boxes():
    words = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
    seen = set()
    scenes = generator()
    for index in range(200):
        sample = scenes.sample(index)
        for phrase, row in zip(sample.phrases, sample.truth, strict=True):
            for size, names in words.items():
                if set(names) & set(phrase.split()) and row.any():
                    extent = (sample.boxes_amodal[row, 2:] - sample.boxes_amodal[row, :2]).max(axis=1) / 160
                    assert (extent < 0.2).all() if size == "small" else (extent > 0.27).all()
                    seen.add(size)
    assert seen == {"small", "large"}


def test_box_holds_the_colors_of_its_object():
    scenes = generator(most_objects=1)
    checked = 0
    for index in range(60):
        sample = scenes.sample(index)
        for thing, (x0, y0, x1, y1) in zip(sample.objects, sample.boxes.astype(int), strict=True):
            if thing.key == "red square":
                middle = sample.picture[(y0 + y1) // 2, (x0 + x1) // 2].astype(int)
                assert middle[0] > 2 * max(middle[1], middle[2])
                checked += 1
    assert checked


def test_gray_pictures_are_not_asked_about_colors():
    scenes = generator(spoil=1.0, restyle=0.0)
    gray = 0
    for index in range(200):
        sample = scenes.sample(index)
        if (sample.picture == sample.picture[..., :1]).all() and len(sample.objects):
            gray += 1
            assert not any(thing.color for thing in sample.objects)
            hits = [phrase for phrase, row in zip(sample.phrases, sample.truth, strict=True) if row.any()]
            assert not any(color in phrase.split() for phrase in hits for color in COLORS_RGB)
    assert gray


def test_scenes_without_photographs():
    bank = Bank(drawn_bank().sprites, [])
    sample = SceneGenerator(bank, drawn_vocabulary(), TRAIN, PLAIN).sample(0)
    assert sample.picture.std() >= 0
    assert len(sample.phrases) == 12


def test_sprite_of_an_unknown_concept_is_named():
    bank = drawn_bank()
    stranger = replace(bank.sprites[0], concept="gizmo")
    with pytest.raises(ValueError, match="'gizmo', which is not in the vocabulary"):
        SceneGenerator(Bank([stranger], []), drawn_vocabulary(), TRAIN, PLAIN)


def test_config_is_checked():
    with pytest.raises(ValueError, match="got 10x160 and 5"):
        replace(PLAIN, width_px=10)
    with pytest.raises(ValueError, match="unknown shape 'blob'"):
        draw_shape("blob", (0, 0, 0))


@pytest.mark.parametrize("name", STYLINGS)
def test_restyling_keeps_the_silhouette(name):
    rgba = draw_shape("ring", (220, 30, 30))
    rgba[:40, :, 0] = 90
    before = rgba.copy()
    for seed in range(5):
        styled = STYLINGS[name](rgba, np.random.default_rng(seed))
        assert (styled.shape, styled.dtype) == (rgba.shape, np.uint8)
        assert (styled[..., 3] == rgba[..., 3]).all()
        assert (styled[..., :3] != rgba[..., :3]).any()
    assert (rgba == before).all()


@pytest.mark.slow
def test_preview_writes_a_sheet(tmp_path, monkeypatch, capsys):
    with BankWriter(tmp_path / "bank") as writer:
        for number, name in enumerate(("dog", "car", "apple", "chair")):
            shape = draw_shape("ring", tuple(COLORS_RGB.values())[number])
            writer.add_sprite(shape, "noto", f"{number}", name)
    monkeypatch.setattr("sys.argv", ["preview", str(tmp_path / "bank"), str(tmp_path / "sheet.png")])
    threads = cv2.getNumThreads()
    preview.main()
    cv2.setNumThreads(threads)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * 416, 3 * (416 + 76))
    assert "pictures per second of one core" in capsys.readouterr().out
