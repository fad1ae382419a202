"""glip-nano behind the grounder interface, on a real frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from groundstream.models.errors import ModelError
from groundstream.models.nano.grounder import NanoGrounder
from groundstream.models.types import Prompt, RawDetections

DATA = Path(__file__).parents[2] / "data" / "nano"
#: the three people and the white van, by eye, in its pixels.
PEOPLE = [[147, 107, 165, 154], [319, 77, 334, 110], [374, 163, 401, 221]]
VAN = [352, 23, 393, 55]


def load(dtype: str = "float32", size_px: int | None = None) -> NanoGrounder:
    return NanoGrounder.from_name("glip-nano", device="cpu", dtype=dtype, size_px=size_px)


@pytest.fixture(scope="module")
def grounder() -> NanoGrounder:
    return load()


@pytest.fixture(scope="module")
def street() -> torch.Tensor:
    """(1, 320, 416, 3) uint8; 312 rows are picture."""
    canvas = np.zeros((1, 320, 416, 3), np.uint8)
    canvas[0, :312] = np.array(Image.open(DATA / "street.png"))
    return torch.from_numpy(canvas)


CONTENT = torch.tensor([[312, 416]])


def find(grounder: NanoGrounder, picture: torch.Tensor, *phrases: str, floor: float = 0.15) -> RawDetections:
    (raw,) = grounder.detect(picture, CONTENT, [grounder.encode_text([Prompt.of(phrases)])], floor)
    return raw


def iou(boxes: NDArray[np.float32], box: list[int]) -> NDArray[np.float32]:
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    both = np.clip(high - low, 0, None).prod(1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2] - box[0]) * (box[3] - box[1]) - both
    answer: NDArray[np.float32] = both / union
    return answer


def test_the_frames_size_becomes_the_canvas(grounder: NanoGrounder) -> None:
    assert grounder.size_rule.plan(576, 768).canvas_px == (320, 416)
    assert grounder.size_rule.plan(1080, 1920).canvas_px == (256, 416)
    assert load(size_px=640).size_rule.plan(1080, 1920).canvas_px == (384, 640)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("phrase", ["person", "pedestrian", "people walking"])
def test_all_three_people_are_found_by_any_word(dtype: str, phrase: str, street: torch.Tensor) -> None:
    raw = find(load(dtype), street, phrase, floor=0.6)
    assert len(raw.boxes_model) == 3
    for person in PEOPLE:
        assert iou(raw.boxes_model, person).max() > 0.6


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("white van", "red van"), ("white vehicle", "green vehicle"), ("white car", "black car")],
)
def test_colours_rank_the_white_van_first(
    grounder: NanoGrounder, street: torch.Tensor, right: str, wrong: str
) -> None:
    raw = find(grounder, street, right, wrong, floor=0.0)
    best = raw.phrase_scores.argmax(0)
    assert iou(raw.boxes_model[best[:1]], VAN)[0] > 0.6
    over_van = raw.phrase_scores[iou(raw.boxes_model, VAN) > 0.6].max(0)
    assert over_van[0] > grounder.preset.score > over_van[1]
    assert over_van[0] > 2 * over_van[1]


def test_answers_have_the_shape_of_the_interface(grounder: NanoGrounder, street: torch.Tensor) -> None:
    raw = find(grounder, street, "person", "xyzzy", "car", floor=0.02)
    count = len(raw.boxes_model)
    assert 3 <= count <= 300
    assert raw.boxes_model.dtype == raw.phrase_scores.dtype == np.float32
    assert raw.phrase_scores.shape == (count, 3)
    assert raw.phrase_scores[:, 1].max() == 0
    best = raw.phrase_scores.max(1)
    assert (np.diff(best) <= 0).all()
    assert best.min() >= 0.02
    assert (raw.boxes_model >= 0).all()
    assert (raw.boxes_model <= [416, 312, 416, 312]).all()


def test_a_frame_in_a_batch_is_the_frame_alone(grounder: NanoGrounder, street: torch.Tensor) -> None:
    alone = find(grounder, street, "person", "van")
    queries = [grounder.encode_text([Prompt.of(phrases)]) for phrases in (["dog"], ["person", "van"])]
    batch = torch.cat((street.flip(2), street))
    _, together = grounder.detect(batch, CONTENT.repeat(2, 1), queries, 0.15)
    np.testing.assert_allclose(alone.boxes_model, together.boxes_model, atol=1e-2)
    np.testing.assert_allclose(alone.phrase_scores, together.phrase_scores, atol=1e-4)


def test_padding_does_not_matter(grounder: NanoGrounder, street: torch.Tensor) -> None:
    painted = street.clone()
    painted[:, 312:] = 255
    for a, b in zip(find(grounder, street, "white van"), find(grounder, painted, "white van"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_phrases_joined_are_phrases_encoded_together(grounder: NanoGrounder) -> None:
    phrases = ("vehicle", "helmet", "small red ball")
    (whole,) = grounder.encode_text([Prompt.of(phrases)])
    joined = grounder.join_text(grounder.encode_text([Prompt.of([phrase]) for phrase in phrases]))
    assert joined.phrases == whole.phrases
    assert joined.spans == whole.spans == ((0, 9), (9, 10), (10, 12))
    torch.testing.assert_close(joined.tokens, whole.tokens)


def test_words_that_it_does_not_know_are_named(grounder: NanoGrounder, street: torch.Tensor) -> None:
    assert grounder.unknown_phrases(Prompt.of(["dog", "椅子", "guitar", "xyzzy"])) == ("椅子", "xyzzy")
    assert find(grounder, street, "xyzzy", floor=0.0).phrase_scores.size == 0


def test_wrong_calls_say_what_is_wrong(grounder: NanoGrounder, street: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        grounder.encode_image(street[:, :300], CONTENT)
    features = grounder.encode_image(street, CONTENT)
    with pytest.raises(ValueError, match="expected 1 texts"):
        grounder.ground(features, [], 0.1)
    with pytest.raises(ModelError, match="at least 64"):
        load(size_px=20)
