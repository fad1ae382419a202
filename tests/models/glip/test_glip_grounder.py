"""GLIP behind the interface of all grounders, with random weights in small."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from glip_parity import DATA, MINI
from torch import Tensor

from groundstream.models.glip.grounder import GlipGrounder
from groundstream.models.glip.modelfile import ModelFile, read_vocabulary
from groundstream.models.glip.network import GlipNetwork
from groundstream.models.types import Prompt, RawDetections

ANIMALS = Prompt.of(["dog", "small cat", "horse"])
STREET = Prompt.of(["car", "traffic light", "stop sign", "person", "red bicycle", "bench"])
SENTENCE = Prompt.of(["a woman", "two dogs"], "a woman walking with two dogs")


def make(dtype: torch.dtype = torch.float32) -> GlipGrounder:
    torch.manual_seed(1)
    network = GlipNetwork(MINI)
    for block in network.head.blocks:
        torch.nn.init.normal_(block.image.offset.bias)
    # Untrained logits are near zero everywhere; spread them so that there is something to rank.
    torch.nn.init.normal_(network.head.text_bias, std=2)
    torch.nn.init.constant_(network.head.log_scale, -2)
    model = ModelFile(MINI, tuple(read_vocabulary(DATA / "vocab.txt")), network.state_dict())
    return GlipGrounder(model, name="mini", revision="0" * 64, device=torch.device("cpu"), dtype=dtype)


@pytest.fixture(scope="module")
def grounder() -> GlipGrounder:
    return make()


def pictures(count: int) -> tuple[Tensor, Tensor]:
    """Pictures of one canvas whose contents end at different places."""
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (count, 96, 128, 3), dtype=torch.uint8, generator=generator)
    return pixels, torch.tensor([[96, 128], [80, 128], [96, 100]])[:count]


def assert_same(first: RawDetections, second: RawDetections) -> None:
    assert len(first.boxes_model) > 5
    np.testing.assert_allclose(first.boxes_model, second.boxes_model, atol=1e-2)
    np.testing.assert_allclose(first.phrase_scores, second.phrase_scores, atol=1e-4)


def test_alone_as_in_a_batch_with_other_prompts(grounder: GlipGrounder) -> None:
    pixels, content = pictures(3)
    texts = grounder.encode_text([ANIMALS, STREET, SENTENCE])
    together = grounder.detect(pixels, content, [[text] for text in texts])
    for row, prompt in enumerate((ANIMALS, STREET, SENTENCE)):
        alone = grounder.encode_text([prompt])
        part = slice(row, row + 1)
        (answer,) = grounder.detect(pixels[part], content[part], [alone])
        assert answer.phrase_scores.shape[1] == len(prompt.phrases)
        assert_same(together[row], answer)


def test_rows_are_sorted_and_reach_the_floor(grounder: GlipGrounder) -> None:
    pixels, content = pictures(2)
    texts = grounder.encode_text([ANIMALS, STREET])
    low = grounder.detect(pixels, content, [[text] for text in texts], floor=0.0)
    best = [raw.phrase_scores.max(1) for raw in low]
    assert all((np.diff(scores) <= 0).all() for scores in best)
    middle = float(np.median(best[0]))
    high = grounder.detect(pixels, content, [[text] for text in texts], floor=middle)
    # A weaker box never removes a stronger one, so the floor only cuts.
    assert len(high[0].boxes_model) == int((best[0] >= middle).sum())
    assert (high[0].boxes_model <= np.array([127, 95, 127, 95])).all()
    assert (low[1].boxes_model[:, 3] <= 79).all()


def test_text_features(grounder: GlipGrounder) -> None:
    (features,) = grounder.encode_text([ANIMALS])
    # [CLS] dog . small cat . horse [SEP]
    assert features.tokens.shape == (8, 64)
    assert features.spans == ((1, 2), (3, 5), (6, 7))
    assert features.tokens.device.type == "cpu"
    (sentence,) = grounder.encode_text([SENTENCE])
    assert sentence.spans[0] == (1, 3)
    longer = grounder.encode_text([ANIMALS, STREET])[0]
    torch.testing.assert_close(longer.tokens, features.tokens, atol=1e-5, rtol=0)


def test_levels_are_the_five_of_the_pyramid(grounder: GlipGrounder) -> None:
    pixels, content = pictures(2)
    features = grounder.encode_image(pixels, content)
    assert [tuple(level.shape[1:]) for level in features.levels] == [
        (64, 12, 16),
        (64, 6, 8),
        (64, 3, 4),
        (64, 2, 2),
        (64, 1, 1),
    ]


def test_a_split_prompt_answers_for_all_phrases(grounder: GlipGrounder) -> None:
    animals = ["dog", "cat", "horse", "sheep", "cow", "bird"]
    phrases = [
        f"{size} {colour} {animal}"
        for animal in animals
        for size in ("big", "small", "old", "young")
        for colour in ("red", "green", "blue", "black", "white")
    ]
    parts = grounder.split_prompt(Prompt.of(phrases))
    assert [phrase for part in parts for phrase in part.phrases] == phrases
    pixels, content = pictures(1)
    texts = grounder.encode_text(parts)
    (raw,) = grounder.detect(pixels, content, [texts], floor=0.0)
    assert raw.phrase_scores.shape[1] == len(phrases)
    first = grounder.detect(pixels, content, [texts[:1]], floor=0.0)[0]
    count = len(parts[0].phrases)
    assert (raw.phrase_scores[:, :count] > 0).sum() == (first.phrase_scores > 0).sum()


def test_nothing_asked_nothing_answered(grounder: GlipGrounder) -> None:
    pixels, content = pictures(2)
    features = grounder.encode_image(pixels, content)
    assert grounder.encode_text([]) == []
    empty = features.select([])
    assert grounder.ground(empty, [], 0.0) == []
    with pytest.raises(ValueError, match="expected 2 texts, one per picture, but got 1"):
        grounder.ground(features, grounder.encode_text([ANIMALS]), 0.0)


def test_unknown_phrases_are_named(grounder: GlipGrounder) -> None:
    assert grounder.unknown_phrases(Prompt.of(["dog", "犬", "🦄"])) == ("犬", "🦄")


def test_a_prompt_that_was_not_split_is_refused(grounder: GlipGrounder) -> None:
    with pytest.raises(ValueError, match="call split_prompt first"):
        grounder.encode_text([Prompt.of([f"dog {number}" for number in range(200)])])


def test_single_phrases_cannot_be_joined(grounder: GlipGrounder) -> None:
    assert grounder.info.text_scope == "prompt"
    with pytest.raises(ValueError, match="whole prompts"):
        grounder.join_text(grounder.encode_text([ANIMALS]))


def test_bfloat16_finds_the_same(grounder: GlipGrounder) -> None:
    half = make(torch.bfloat16)
    assert half.info.fingerprint != grounder.info.fingerprint
    pixels, content = pictures(1)
    answers = [g.detect(pixels, content, [g.encode_text([ANIMALS])], 0.0)[0] for g in (grounder, half)]
    strongest = [answer.phrase_scores[:10].max(1) for answer in answers]
    np.testing.assert_allclose(strongest[0], strongest[1], atol=0.05)
    assert np.isfinite(answers[1].boxes_model).all()


def test_size_rule_is_that_of_the_original(grounder: GlipGrounder) -> None:
    plan = grounder.size_rule.plan(480, 640)
    assert plan.content_px == (800, 1066)
    assert plan.canvas_px == (800, 1088)
