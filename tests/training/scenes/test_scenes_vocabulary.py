import numpy as np
import pytest

from training.data.fetch import rows
from training.scenes.captions import Phrase, Questioner, Thing, answer, plural, spoken
from training.scenes.colors import COLORS, color_match, color_shares
from training.scenes.vocabulary import (
    Concept,
    Match,
    Vocabulary,
    is_novel,
    stable_fraction,
)


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.read()


@pytest.mark.parametrize(
    ("noun", "thing", "expected"),
    [
        ("dog", "dog", Match.YES),
        ("hound", "dog", Match.YES),
        ("pet", "dog", Match.YES),
        ("creature", "dog", Match.YES),
        ("dog", "poodle", Match.YES),
        ("poodle", "dog", Match.UNSURE),
        ("puppy", "dog", Match.UNSURE),
        ("bear", "teddy bear", Match.UNSURE),
        ("mouse", "computer mouse", Match.YES),
        ("mouse", "mouse", Match.YES),
        ("man", "person", Match.UNSURE),
        ("person", "man", Match.YES),
        ("vehicle", "van", Match.YES),
        ("cat", "dog", Match.NO),
        ("animal", "chair", Match.NO),
        ("gibberish", "dog", Match.NO),
    ],
)
def test_word_fits_thing(vocabulary, noun, thing, expected):
    assert vocabulary.match(noun, thing) is expected


def test_every_picture_shows_a_known_concept(vocabulary):
    for table in ("emoji.tsv", "furniture.tsv", "clipart.tsv"):
        assert {row["concept"] for row in rows(table)} <= vocabulary.concepts.keys()
    for row in rows("photographs.tsv"):
        assert set(filter(None, row["contains"].split("|"))) <= vocabulary.concepts.keys(), row["path"]


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="no concept"):
        Vocabulary([Concept("dog", kinds=("mammal",))])


def test_split_by_name_is_the_same_everywhere(vocabulary):
    assert stable_fraction("novel:dog") == pytest.approx(0.356087318, abs=1e-8)
    novel = sum(is_novel(name) for name in vocabulary.concepts) / len(vocabulary.concepts)
    assert 0.07 < novel < 0.13


@pytest.mark.parametrize(
    ("rgb", "color"),
    [
        ((0, 0, 0), "black"),
        ((255, 255, 255), "white"),
        ((128, 128, 128), "gray"),
        ((220, 20, 20), "red"),
        ((255, 140, 0), "orange"),
        ((255, 220, 0), "yellow"),
        ((0, 140, 30), "green"),
        ((30, 60, 220), "blue"),
        ((120, 30, 160), "purple"),
        ((255, 130, 190), "pink"),
        ((110, 60, 25), "brown"),
    ],
)
def test_color_words(rgb, color):
    rgba = np.full((8, 8, 4), (*rgb, 255), np.uint8)
    shares = color_shares(rgba)
    assert shares[COLORS.index(color)] == 1
    matches = {other: color_match(shares, other) for other in COLORS}
    assert [other for other, match in matches.items() if match is Match.YES] == [color]


def test_color_of_a_car_is_that_of_its_body():
    rgba = np.full((10, 10, 4), (200, 20, 20, 255), np.uint8)
    rgba[:5, :, :3] = 20  # windows and wheels
    shares = color_shares(rgba)
    assert color_match(shares, "red") is Match.YES
    assert color_match(shares, "black") is Match.UNSURE
    assert color_match(shares, "blue") is Match.NO


def test_invisible_pixels_have_no_color():
    rgba = np.zeros((8, 8, 4), np.uint8)
    assert color_shares(rgba).sum() == 0


RED = color_shares(np.full((4, 4, 4), (220, 20, 20, 255), np.uint8))


@pytest.mark.parametrize(
    ("phrase", "thing", "expected"),
    [
        (Phrase("car", "red"), Thing("car", RED, 0.5), Match.YES),
        (Phrase("car", "blue"), Thing("car", RED, 0.5), Match.NO),
        (Phrase("car", "red"), Thing("car", None, 0.5), Match.UNSURE),
        (Phrase("man", "red"), Thing("man", RED, 0.5), Match.UNSURE),
        (Phrase("car", size="large"), Thing("car", RED, 0.5), Match.YES),
        (Phrase("car", size="small"), Thing("car", RED, 0.5), Match.NO),
        (Phrase("car", size="small"), Thing("car", RED, 0.16), Match.UNSURE),
        (Phrase("car", "red", "small"), Thing("car", RED, 0.1), Match.YES),
        (Phrase("car"), Thing("car", RED, 0.5, clear=False), Match.UNSURE),
        (Phrase("dog"), Thing("car", RED, 0.5, clear=False), Match.NO),
    ],
)
def test_answer(vocabulary, phrase, thing, expected):
    assert answer(phrase, thing, vocabulary) is expected


def test_questions_avoid_what_is_unsure(vocabulary):
    shown = ["dog", "poodle", "cat", "car", "tree", "table"]
    things = [Thing("dog", RED, 0.3), Thing("cat", RED, 0.3, clear=False)]
    unsure = {"poodle", "cat", "cats", "kitten", "feline", "tree", "leafy tree", "plant"}
    questioner = Questioner(vocabulary, shown)
    for seed in range(40):
        phrases, truth = questioner.ask(things, ["tree"], 15, 5, np.random.default_rng(seed))
        assert truth.shape == (len(phrases), 2)
        assert len({phrase.casefold() for phrase in phrases}) == len(phrases)
        assert not truth[:, 1].any()
        # A dog may be a poodle, the cat is hidden (a cat of another colour is not), there may be trees.
        for phrase in phrases:
            assert phrase.removeprefix("a ").removeprefix("the ") not in unsure, phrases


def test_no_things_gives_only_absent_phrases(vocabulary):
    phrases, truth = Questioner(vocabulary, ["dog", "car"]).ask([], [], 4, 2, np.random.default_rng(0))
    assert phrases
    assert truth.shape == (len(phrases), 0)


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("dog", "dogs"),
        ("fire truck", "fire trucks"),
        ("berry", "berries"),
        ("toy", "toys"),
        ("box", "boxes"),
        ("wine glass", "wine glasses"),
        ("old man", "old men"),
        ("scissors", "scissors"),
        ("people", "people"),
    ],
)
def test_plural(noun, expected):
    assert plural(noun) == expected


def test_spoken_keeps_all_parts():
    said = {spoken(Phrase("apple", "gray", "large"), np.random.default_rng(seed)) for seed in range(300)}
    assert {"large grey apple", "a big gray apple", "the huge gray apple"} <= said
    assert all(("gray" in text or "grey" in text) and "apple" in text for text in said)
