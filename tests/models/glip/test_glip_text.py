"""Captions, token spans and splitting, against the original's with the real vocabulary."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from glip_parity import DATA, load_case

from groundstream.models.glip.modelfile import read_vocabulary
from groundstream.models.glip.text import (
    Caption,
    PhraseTokenizer,
    caption_of,
    clean_phrase,
    find_in_sentence,
    split_prompt,
)
from groundstream.models.types import Prompt

TEXT: dict[str, Any] = json.loads((DATA / "text.json").read_text())
#: Word pieces of the recordings that no recorded list of pieces names.
MORE_PIECES = {
    "red": 2417,
    "unicorn": 21830,
    "striped": 30520,
    "wooden": 30521,
    "_": 1035,
    "(": 1006,
    ")": 1007,
    "weapon": 5195,
    "[PAD]": 0,
    "[UNK]": 100,
    "[MASK]": 103,
}


@pytest.fixture(scope="module")
def bert() -> PhraseTokenizer:
    """The part of BERT's vocabulary that the recordings show; longest pieces first, so no other is missed."""
    known = dict(MORE_PIECES)
    for case in [*TEXT["detection"].values(), *TEXT["sentences"]]:
        known.update(zip(case["tokens"], case["input_ids"], strict=True))
    pieces = [f"[unused{number}]" for number in range(30522)]
    for piece, number in known.items():
        pieces[number] = piece
    return PhraseTokenizer(pieces)


@pytest.fixture(scope="module")
def mini() -> PhraseTokenizer:
    return PhraseTokenizer(read_vocabulary(DATA / "vocab.txt"))


def as_rows(positive_map: dict[str, list[int]]) -> list[tuple[int, int]]:
    ordered = sorted((int(label), tokens) for label, tokens in positive_map.items())
    return [(tokens[0], tokens[-1] + 1) for _, tokens in ordered]


@pytest.mark.parametrize("name", list(TEXT["detection"]))
def test_class_names(name: str, bert: PhraseTokenizer) -> None:
    case = TEXT["detection"][name]
    assert [clean_phrase(phrase) for phrase in case["names"]] == case["clean"]
    caption = caption_of(Prompt(tuple(case["names"])))
    assert caption.text == case["caption"]
    tokens = bert.encode(caption)
    assert list(tokens.ids) == case["input_ids"]
    assert list(tokens.spans) == as_rows(case["positive_map"])


@pytest.mark.parametrize("case", TEXT["sentences"], ids=lambda case: case["sentence"][:20])
def test_sentences(case: dict[str, Any], bert: PhraseTokenizer) -> None:
    caption = caption_of(Prompt.of(case["phrases"], case["sentence"]))
    assert caption.text == case["sentence"]
    assert [[list(span)] for span in caption.spans] == case["spans"]
    tokens = bert.encode(caption)
    assert list(tokens.ids) == case["input_ids"]
    expected = [[token for token, _ in row] for row in case["positive_map_nonzero"]]
    assert [list(range(*span)) for span in tokens.spans] == expected


@pytest.mark.parametrize("name", ["single", "pair"])
def test_recorded_captions(name: str, mini: PhraseTokenizer) -> None:
    case = load_case(DATA, name)
    for row, caption in enumerate(case["captions"]):
        phrases = case["class_or_phrase_names"][row]
        sentence = caption if "woman" in caption else ""
        tokens = mini.encode(caption_of(Prompt.of(phrases, sentence)))
        recorded = case["tensors"]["lang.input_ids"][row]
        assert list(tokens.ids) == recorded[: len(tokens.ids)].tolist()
        assert list(tokens.spans) == as_rows(case["positive_maps"][row])


def test_long_list_is_split_and_said(bert: PhraseTokenizer, caplog: pytest.LogCaptureFixture) -> None:
    case = TEXT["too_long"]
    prompt = Prompt(tuple(case["names"]))
    tokens = bert.encode(caption_of(prompt))
    assert len(tokens.ids) == case["tokens_untruncated"]
    assert list(tokens.spans) == as_rows(case["positive_map"])
    with caplog.at_level(logging.INFO):
        parts = split_prompt(prompt, bert)
    assert [phrase for part in parts for phrase in part.phrases] == case["names"]
    lengths = [len(bert.encode(caption_of(part)).ids) for part in parts]
    assert all(length <= 256 for length in lengths)
    assert len(parts) == 3
    assert "160 phrases need 557 tokens, GLIP reads 256 at a time: asked in 3 parts" in caplog.text


def test_short_prompt_is_left_alone(mini: PhraseTokenizer, caplog: pytest.LogCaptureFixture) -> None:
    prompt = Prompt.of(["red car", "dog"], "a dog sees a red car")
    with caplog.at_level(logging.INFO):
        assert split_prompt(prompt, mini) == (prompt,)
    assert caplog.text == ""


@pytest.mark.parametrize("words", [253, 254])
def test_longest_phrase_that_fits(words: int, mini: PhraseTokenizer) -> None:
    long = " ".join(["dog"] * words)
    parts = split_prompt(Prompt.of(["car", long, "cat"]), mini)
    assert [len(part.phrases) for part in parts] == [1, 1, 1]
    assert len(mini.encode(caption_of(parts[1])).ids) == words + 2


def test_phrase_over_the_limit_is_refused(mini: PhraseTokenizer) -> None:
    with pytest.raises(ValueError, match="has 255 tokens, but GLIP reads at most 254"):
        split_prompt(Prompt.of(["car", " ".join(["dog"] * 255)]), mini)


def test_long_sentence_is_asked_as_its_phrases(mini: PhraseTokenizer) -> None:
    sentence = "a dog and " + "very " * 300 + "big cat"
    parts = split_prompt(Prompt.of(["a dog", "big cat"], sentence), mini)
    assert parts == (Prompt(("a dog", "big cat")),)


def test_first_free_whole_word_is_taken() -> None:
    sentence = "A carpet, a car and a red car"
    assert [sentence[b:e] for b, e in find_in_sentence(["red car", "car", "CARPET"], sentence)] == [
        "red car",
        "car",
        "carpet",
    ]
    assert find_in_sentence(["car"], "carpet") == ((0, 3),)
    assert find_in_sentence(["a.b (c)"], "see a.b (c)!") == ((4, 11),)


def test_phrase_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="phrase 'cat' was not found in the sentence 'a dog'"):
        caption_of(Prompt.of(["cat"], "a dog"))


def test_brackets_alone_are_kept() -> None:
    assert clean_phrase("(x)") == "(x)"


@pytest.mark.parametrize(
    ("phrase", "unknown"), [("dog", False), ("犬", True), ("dog 犬", False), ("🦄 🦄", True)]
)
def test_unknown_phrases(phrase: str, unknown: bool, mini: PhraseTokenizer) -> None:
    assert mini.is_unknown(phrase) == unknown


def test_phrase_without_a_token_has_an_empty_span(mini: PhraseTokenizer) -> None:
    tokens = mini.encode(Caption("dog.     cat", ((4, 9), (9, 12))))
    begin, end = tokens.spans[0]
    assert begin == end
    assert tokens.spans[1] == (3, 4)
