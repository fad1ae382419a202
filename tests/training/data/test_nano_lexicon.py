"""The lexicon that the text encoder learns, on a WordNet of a dozen words, and the training on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from groundstream.models.nano.config import COCO_NAMES
from training.data import everyday
from training.data import lexicon as lexicon_module
from training.data.lexicon import (
    Meaning,
    Words,
    counted_words,
    everyday_meanings,
    hand_written,
    one_hot,
    plurals,
    read_lexicon,
    read_wordnet,
    with_plurals,
)
from training.nano.train_text import TextRecipe, accuracy, train

#: synset, its words, the synset above it.
SYNSETS = (
    ("01", "physical_entity", ""),
    ("10", "beast_thing", "01"),
    ("11", "quadruped_x", "10"),
    ("20", "dog domestic_dog", "11"),
    ("21", "samoyed", "20"),
    ("22", "dog frump", "10"),
    ("30", "zither", "10"),
    ("40", "human_x", "01"),
    ("41", "hangman hanger", "40"),
    ("42", "hanger", "01"),
    ("43", "collector", "40"),
    ("44", "collector", "01"),
    ("45", "samoyed", "40"),
)
SENSES = {"dog": "20 22", "frump": "22", "domestic_dog": "20", "hanger": "41 42", "collector": "43 44"}
SENSES |= {"samoyed": "45 21"}
COUNTS = "dog%1:05:00:: 1 42\nbark%2:32:00:: 1 3\ncollector%1:18:00:: 1 9\nhanger%1:18:00:: 1 1\n"


@pytest.fixture
def wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """WordNet's files with a few nouns in its own format."""
    monkeypatch.setattr(lexicon_module, "ANCHORS", "dog: dog 1\nperson: human_x 1")
    lines = ["  1 licence"]
    for offset, words, above in SYNSETS:
        names = words.split()
        pointers = f"001 @ {above} n 0000" if above else "000"
        listed = " ".join(f"{name} 0" for name in names)
        lines.append(f"{offset} 05 n {len(names):02x} {listed} {pointers} | a thing; with | bars")
    (tmp_path / "data.noun").write_text("\n".join(lines))
    found = {name: SENSES.get(name, offset) for offset, words, _ in SYNSETS for name in words.split()}
    rows = [f"{n} n {len(o.split())} 1 @ {len(o.split())} 1 {o}" for n, o in found.items()]
    (tmp_path / "index.noun").write_text("\n".join(["  1 licence", *rows]))
    (tmp_path / "index.adj").write_text("fluffy a 1 0 1 0 99\nwell_read a 1 0 1 0 98\n")
    (tmp_path / "index.verb").write_text("bark v 1 0 1 0 97\n")
    (tmp_path / "cntlist.rev").write_text(COUNTS)
    (tmp_path / "noun.exc").write_text("samoyedes samoyed\n")
    return tmp_path


def names(meaning: Meaning) -> dict[str, float]:
    return {name: gate for name, gate in zip(COCO_NAMES, meaning, strict=True) if gate}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("samoyed", {"dog": 1.0}),  # below the class, and a dog before a person
        ("samoyeds", {"dog": 1.0}),  # its plurals
        ("samoyedes", {"dog": 1.0}),
        ("quadruped x", {"dog": 1.0}),  # above it
        ("frump", {}),  # a rare sense of the same word is another thing
        ("zither", {}),
        ("hangman", {"person": 1.0}),
        ("hanger", {}),  # hardly anybody means a hangman
        ("collector", {"person": 1.0}),  # nor a tube
        ("fluffy", {}),
        ("bark", {}),
        ("guy", {"person": 1.0}),  # by hand
        ("taxis", {"car": 1.0}),
    ],
)
def test_words_mean_the_classes_around_them(wordnet: Path, words: str, expected: dict[str, float]) -> None:
    assert names(read_lexicon(wordnet)[tuple(words.split())]) == expected


def test_counted_words(wordnet: Path) -> None:
    assert counted_words(read_wordnet(wordnet)) == {("dog",), ("collector",), ("hanger",)}


def test_no_word_is_written_down_as_something_and_as_nothing() -> None:
    assert not {*everyday.PEOPLE.split()} & {*everyday.NOTHING.split()}


def test_hand_written_words() -> None:
    words = hand_written()
    assert all(words[tuple(name.split())] == one_hot(name) for name in COCO_NAMES)
    assert names(words["pet",]) == {"cat": 1.0, "dog": 1.0}
    assert names(words["van",]) == {"car": 1.0, "truck": 1.0, "bus": 0.8}
    assert names(words["helmet",]) == {}
    assert len(names(words["thing",])) == len(COCO_NAMES)
    assert len(dict(everyday_meanings())) > 800


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("car", "cars"),
        ("bus", "buses"),
        ("pony", "ponies"),
        ("toy", "toys"),
        ("fireman", "firemen"),
        ("box", "boxes"),
    ],
)
def test_regular_plurals(word: str, expected: str) -> None:
    assert plurals(word, {}) == [expected]
    assert plurals("knife", {"knife": ["knives"]}) == ["knifes", "knives"]


def test_given_words_are_not_overruled_by_plurals() -> None:
    given: Mapping[Words, Meaning] = {("queen",): one_hot("person"), ("queens",): one_hot("boat")}
    assert with_plurals(given, {}) == given


def test_a_small_lexicon_is_learnt() -> None:
    words = {("dog",): one_hot("dog"), ("puppy",): one_hot("dog"), ("hot", "dog"): one_hot("hot dog")}
    words |= {(word,): (0.0,) * len(COCO_NAMES) for word in ("guitar", "house", "tree")}
    recipe = TextRecipe(buckets=512, width=8, hidden=32, steps=150, batch=64, rate=2e-2, misspelt=0.0)
    encoder = train(words, {("dog",), ("guitar",)}, recipe)
    assert accuracy(encoder, sorted(words), words) == 1.0
