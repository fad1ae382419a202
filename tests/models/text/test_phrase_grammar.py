"""Noun phrases by rules, and the pattern against the original's chunker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from groundstream.models.text.noun_phrases import Tagged, cut_phrases, noun_phrases, tag_words
from groundstream.models.types import Prompt

TEXT: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data" / "glip" / "text.json").read_text())

SENTENCES = {
    "A woman in a yellow raincoat is walking two dalmatians past a parked bicycle.": [
        "A woman",
        "a yellow raincoat",
        "dalmatians",
        "a parked bicycle",
    ],
    "Two men, one holding a surf-board, stand near the ocean; a dog barks.": [
        "men",
        "a surf-board",
        "the ocean",
        "a dog",
    ],
    "the red car and the blue truck": ["the red car", "the blue truck"],
    "find the white van next to a tree": ["the white van", "a tree"],
    "a dog running with a ball in its mouth": ["a dog", "a ball", "mouth"],
    "People waiting at the bus stop": ["People", "the bus stop"],
    "A bus stops near two people": ["A bus", "people"],
    "the man's red umbrella": ["the man", "red umbrella"],
    "children play football in the park": ["children", "football", "the park"],
    "show me all the dogs": ["the dogs"],
    "a small black cat sleeps under the wooden table": ["a small black cat", "the wooden table"],
    "the running man holds a cup of coffee": ["the running man", "a cup", "coffee"],
    "someone is opening the door": ["the door"],
    "Is there a person lying on the floor?": ["a person", "the floor"],
    "white van": ["white van"],
    "parked  cars": ["parked cars"],
    "quickly!": [],
    "": [],
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_rules(sentence: str) -> None:
    text = " ".join(sentence.split())
    assert cut_phrases(text, tag_words(text)) == SENTENCES[sentence]


@pytest.mark.parametrize("case", TEXT["noun_phrase_grammar"], ids=lambda case: case["tags"][0][0])
def test_pattern_equals_the_originals(case: dict[str, Any]) -> None:
    text = " ".join(word for word, _ in case["tags"])
    tagged, start = [], 0
    for word, tag in case["tags"]:
        tagged.append(Tagged(word, tag, start))
        start += len(word) + 1
    assert cut_phrases(text, tagged) == case["noun_phrases"]


def test_phrases_stand_in_the_sentence_of_their_prompt() -> None:
    sentence = "  A red   car and\ta dog "
    prompt = Prompt.of(noun_phrases(sentence), sentence)
    assert all(phrase in prompt.sentence for phrase in prompt.phrases)
    assert prompt.phrases == ("A red car", "a dog")
