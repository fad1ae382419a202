"""What phrases are made of, and what the trained text encoder makes of them."""

from __future__ import annotations

import pytest
import torch

from groundstream.models.common.tensor_file import read_tensors
from groundstream.models.nano.config import COCO_NAMES, SHIPPED
from groundstream.models.nano.parse import COLOURS, parse, tokenize
from groundstream.models.nano.text import LOWEST_GATE, ROW_WIDTH, TextEncoder, pieces_of, split_rows


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.from_tensors(read_tensors(SHIPPED))


def classes(encoder: TextEncoder, phrase: str) -> set[str]:
    (gates,) = encoder.gates([phrase])
    return {name for name, gate in zip(COCO_NAMES, gates, strict=True) if gate >= LOWEST_GATE}


@pytest.mark.parametrize(
    ("phrase", "words", "colours", "size"),
    [
        ("dog", "dog", "", 0),
        ("A  Red Car!", "car", "red", 0),
        ("the two small black-and-white dogs", "dogs", "black white", -1),
        ("man in a red jacket", "man", "red", 0),
        ("woman wearing blue", "woman", "blue", 0),
        ("a person walking a dog", "person", "", 0),
        ("a slice of pizza", "pizza", "", 0),
        ("cup of coffee", "cup", "", 0),
        ("group of people", "people", "", 0),
        ("orange", "orange", "", 0),
        ("big orange ball", "ball", "orange", 1),
        ("dark blue van", "van", "black gray blue", 0),
        ("police car", "police car", "", 0),
        ("walking stick", "walking stick", "", 0),
        ("a bike leaning on a wall", "bike", "", 0),
        ("dog's bowl", "dog bowl", "", 0),
        ("red", "red", "", 0),
        ("椅子", "椅子", "", 0),
        ("🚗", "", "", 0),
    ],
)
def test_phrases_are_taken_apart(phrase: str, words: str, colours: str, size: int) -> None:
    parsed = parse(phrase)
    named = {name for name, allowed in zip(COLOURS, parsed.colours, strict=True) if allowed}
    assert (" ".join(parsed.words), named, parsed.size) == (words, set(colours.split()), size)


def test_words_are_folded_and_cut_at_punctuation() -> None:
    assert tokenize("Pick-up TRUCK\u2019s, \uff43\uff41\uff52_x") == ["pick", "up", "truck", "car", "x"]


def test_every_name_opens_its_own_classifier_alone(encoder: TextEncoder) -> None:
    gates = encoder.gates(COCO_NAMES)
    assert (gates.diagonal() > 0.9).all()
    assert (gates - torch.diag(gates.diagonal()) < LOWEST_GATE).all()


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("pedestrian", {"person"}),
        ("a guy with a hat", {"person"}),
        ("automobiles", {"car"}),
        ("puppy", {"dog"}),
        ("white pickup truck", {"truck", "car"}),
        ("van", {"car", "truck", "bus"}),
        ("vehicle", {"bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"}),
        ("pets", {"cat", "dog"}),
        ("fruit", {"banana", "apple", "orange"}),
        ("bus driver", {"person"}),
        ("old bicycle", {"bicycle"}),
        ("delicious hot dog", {"hot dog"}),
        ("big red fire engine", {"truck"}),
        ("bus stop", set()),
        ("car door", set()),
        ("hot dog", {"hot dog"}),
        ("helmet", set()),
        ("guitar", set()),
        ("椅子", set()),
        ("🚗", set()),
    ],
)
def test_words_open_the_classifiers_they_mean(encoder: TextEncoder, phrase: str, expected: set[str]) -> None:
    assert classes(encoder, phrase) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("anchor badger calculator canyon croissant escalator fan hanger hog locker macaroni shrimp", set()),
        ("speaker tart timer wallpaper washer wasp weasel", set()),
        ("fans lady lumberjack nurse pedestrian pirate pitcher runner sheriff toddler", {"person"}),
        ("cuckoo pigeon sparrow", {"bird"}),
        ("alsatian hound puppy setter", {"dog"}),
        ("cab sedan taxi", {"car"}),
        ("mare pony stallion", {"horse"}),
    ],
)
def test_words_of_two_meanings_open_the_likely_one(
    encoder: TextEncoder, words: str, expected: set[str]
) -> None:
    opened = {word: classes(encoder, word) for word in words.split()}
    assert opened == dict.fromkeys(words.split(), expected)


def test_rows_are_the_open_classifiers_shifted_by_their_gates(encoder: TextEncoder) -> None:
    names, bias = torch.randn(3, 80, 128), torch.randn(3, 80)
    (rows, none) = encoder.rows(["two red cars", "helmet"], names, bias)
    assert rows.shape == (1, ROW_WIDTH)
    assert none.shape == (0, ROW_WIDTH)
    classifiers, attributes = split_rows(rows)
    car = COCO_NAMES.index("car")
    torch.testing.assert_close(classifiers[0, :, :-1], names[:, car])
    gate = encoder.gates(["two red cars"])[0, car]
    torch.testing.assert_close(classifiers[0, :, -1], bias[:, car] + gate.log())
    assert attributes[0].tolist() == [float(name == "red") for name in COLOURS] + [0.0]


def test_a_phrase_alone_is_the_phrase_among_others(encoder: TextEncoder) -> None:
    phrases = ["dog", "fire hydrant", "a very long list of words before the fire engine", "xyzzy"]
    together = encoder.gates(phrases)
    for row, phrase in enumerate(phrases):
        torch.testing.assert_close(encoder.gates([phrase])[0], together[row], atol=1e-5, rtol=0)


def test_pieces_do_not_depend_on_the_machine() -> None:
    heads, modifiers, wholes = pieces_of([("police", "car"), ()], 1000)
    assert heads[0, :9].tolist() == CAR_PIECES
    assert not heads[0, 9:].any()
    assert modifiers[0, 0].any()
    assert not modifiers[0, 1:].any()
    assert wholes[0].all()
    assert not any(pieces[1].any() for pieces in (heads, modifiers, wholes))


def fnv1a(text: str) -> int:
    """Fowler, Noll, Vo: 32-bit FNV-1a, as their page gives it."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) % 2**32
    return value


CAR_GRAMS = ["@car", "!car", *sorted(["<ca", "car", "ar>", "<car", "car>", "<car>"])]
CAR_PIECES = [1 + fnv1a(gram) % 999 for gram in CAR_GRAMS] + [0]
