"""Text of the transformers grounders: encoded once, split where it must be, phrases kept whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hf_tiny import FAMILIES, save_checkpoint

from groundstream.models.registry import load_grounder
from groundstream.models.types import Prompt, TextFeatures

PER_PHRASE = ("grounding-dino", "mm-grounding-dino", "owlvit", "owlv2")
LETTERS = "abcdefghijklmnopqrst"


@pytest.fixture(scope="module")
def grounders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        family: load_grounder(
            str(save_checkpoint(family, tmp_path_factory.mktemp(family))), device="cpu", dtype="float32"
        )
        for family in FAMILIES
    }


def text_backbone(grounder: Any) -> torch.nn.Module:
    """Return the module that turns tokens into features."""
    if grounder.family.endswith("dino"):
        return grounder.model.text_backbone
    return (
        grounder.model.language_backbone.model
        if grounder.family == "omdet-turbo"
        else grounder.base.text_model
    )


def encode(grounder: Any, *phrases: str) -> TextFeatures:
    return grounder.encode_text([Prompt.of(phrases)])[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_text_is_encoded_per_prompt_not_per_frame(grounders: dict[str, Any], family: str) -> None:
    grounder = grounders[family]
    calls: list[int] = []
    hook = text_backbone(grounder).register_forward_hook(lambda *_: calls.append(1))
    texts = grounder.encode_text([Prompt.of(["a red car", "cat"])])
    after_text = len(calls)
    size = (96, 96) if grounder.size_rule.kind == "short_side" else (grounder.size_rule.height_px,) * 2
    for _ in range(5):
        grounder.detect(torch.zeros(1, *size, 3, dtype=torch.uint8), torch.tensor([size]), [texts])
    hook.remove()
    assert after_text >= 1
    assert len(calls) == after_text


@pytest.mark.parametrize("family", PER_PHRASE)
def test_joined_phrases_equal_the_prompt(grounders: dict[str, Any], family: str) -> None:
    grounder = grounders[family]
    whole = encode(grounder, "a red car", "cat", "person with hat")
    joined = grounder.join_text([encode(grounder, name) for name in whole.phrases])
    assert (joined.phrases, joined.spans) == (whole.phrases, whole.spans)
    torch.testing.assert_close(joined.tokens, whole.tokens, atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", ["grounding-dino", "mm-grounding-dino"])
def test_blocks_equal_transformers_joint_encoding(grounders: dict[str, Any], family: str) -> None:
    grounder = grounders[family]
    calls: list[Any] = []
    hook = grounder.model.text_backbone.register_forward_hook(
        lambda *call: calls.append(call[2].last_hidden_state)
    )
    ids = grounder.tokenizer(["a red car. cat. person with hat."], return_tensors="pt")
    grounder.detector(pixel_values=torch.zeros(1, 3, 96, 96), **ids)
    hook.remove()
    with torch.no_grad():
        expected = grounder.model.text_projection(calls[0][0])
    torch.testing.assert_close(
        encode(grounder, "a red car", "cat", "person with hat").tokens, expected, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ("phrase", "words"), [("mr. smith", 3), ("what is it? a cat", 6), ("a cat.", 2), ("cat?", 2)]
)
def test_stops_inside_a_phrase_keep_its_block_whole(
    grounders: dict[str, Any], phrase: str, words: int
) -> None:
    grounder = grounders["grounding-dino"]
    text = encode(grounder, "dog", phrase, "car")
    low, high = text.spans[1]
    assert high - low == words
    assert text.spans == ((1, 2), (3, 3 + words), (4 + words, 5 + words))
    alone = encode(grounder, phrase)
    torch.testing.assert_close(text.tokens[low : high + 1], alone.tokens[1:-1], atol=1e-6, rtol=0)
    # every token of the block sees every other: another last word changes the first word's features
    other = encode(grounder, f"{phrase.rstrip('.')} blue")
    assert not torch.allclose(other.tokens[1], alone.tokens[1], atol=1e-4)


def test_neighbours_do_not_change_a_phrase(grounders: dict[str, Any]) -> None:
    first, second = (
        encode(grounders["grounding-dino"], "cat", other) for other in ("dog", "person with hat")
    )
    torch.testing.assert_close(first.tokens[:3], second.tokens[:3], atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_300_phrases_are_split_and_none_is_lost(grounders: dict[str, Any], family: str) -> None:
    grounder = grounders[family]
    prompt = Prompt.of([f"{LETTERS[number // 20]} {LETTERS[number % 20]}" for number in range(300)])
    parts = grounder.split_prompt(prompt)
    assert tuple(name for part in parts for name in part.phrases) == prompt.phrases
    assert len(parts) == {"owlvit": 1, "owlv2": 1, "omdet-turbo": 14}.get(family, 4)
    limit = 77 if family == "omdet-turbo" else 256
    for part, text in zip(parts, grounder.encode_text(parts), strict=True):
        assert text.phrases == part.phrases
        assert family in ("owlvit", "owlv2") or len(text.tokens) <= limit


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_that_fits_is_left_alone(grounders: dict[str, Any], family: str) -> None:
    prompt = Prompt.of(["cat", "dog"])
    assert grounders[family].split_prompt(prompt) == (prompt,)


@pytest.mark.parametrize("family", FAMILIES)
def test_phrase_longer_than_the_limit_is_an_error(grounders: dict[str, Any], family: str) -> None:
    with pytest.raises(ValueError, match=r"tokens, but model .* reads .*fewer words"):
        grounders[family].split_prompt(Prompt.of(["cat", "red " * 300]))


def test_unknown_phrases_are_those_without_a_known_token(grounders: dict[str, Any]) -> None:
    prompt = Prompt.of(["cat", "猫", "红色 汽车", "red 猫", "."])
    assert grounders["grounding-dino"].unknown_phrases(prompt) == ("猫", "红色 汽车", ".")
    assert grounders["owlvit"].unknown_phrases(prompt) == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_strange_phrases_pass(grounders: dict[str, Any], family: str) -> None:
    grounder = grounders[family]
    prompt = Prompt.of(["🚗", "猫", ".", "?!", "[SEP]"])
    texts = grounder.encode_text(grounder.split_prompt(prompt))
    size = (96, 96) if grounder.size_rule.kind == "short_side" else (grounder.size_rule.height_px,) * 2
    picture = torch.full((1, *size, 3), 90, dtype=torch.uint8)
    raw = grounder.detect(picture, torch.tensor([size]), [texts], floor=0.0)[0]
    assert raw.phrase_scores.shape[1] == 5
    assert ((raw.phrase_scores >= 0) & (raw.phrase_scores <= 1)).all()


def test_spans_of_a_task_sentence(grounders: dict[str, Any]) -> None:
    text = encode(grounders["omdet-turbo"], "cat", "red hat")
    # one token per letter: start, "Detect", "cat", ",", "redhat", ".", end
    assert text.spans == ((7, 10), (11, 17))
    assert text.pooled is not None
    assert text.pooled.shape == (2, 48)


def test_task_sentences_cannot_be_joined(grounders: dict[str, Any]) -> None:
    grounder = grounders["omdet-turbo"]
    part = encode(grounder, "cat")
    assert grounder.join_text([part]) is part
    with pytest.raises(ValueError, match="belong to whole prompts"):
        grounder.join_text([part, part])


@pytest.mark.parametrize("family", FAMILIES)
def test_wrong_number_of_texts_is_refused(grounders: dict[str, Any], family: str) -> None:
    grounder = grounders[family]
    size = (96, 96) if grounder.size_rule.kind == "short_side" else (grounder.size_rule.height_px,) * 2
    features = grounder.encode_image(torch.zeros(2, *size, 3, dtype=torch.uint8), torch.tensor([size, size]))
    with pytest.raises(ValueError, match="expected 2 texts, one per picture, but got 1"):
        grounder.ground(features, [encode(grounder, "cat")], 0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_above_the_floor_keeps_the_columns(grounders: dict[str, Any], family: str) -> None:
    grounder = grounders[family]
    size = (96, 96) if grounder.size_rule.kind == "short_side" else (grounder.size_rule.height_px,) * 2
    text = encode(grounder, "cat", "dog")
    raw = grounder.detect(
        torch.zeros(1, *size, 3, dtype=torch.uint8), torch.tensor([size]), [[text]], floor=1.1
    )[0]
    assert raw.boxes_model.shape == (0, 4)
    assert raw.phrase_scores.shape == (0, 2)
