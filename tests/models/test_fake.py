import numpy as np
import torch

from groundstream.models.fake import FakeGrounder, colour_of
from groundstream.models.types import Prompt, RawDetections


def picture(*blobs: tuple[int, int, int, int, tuple[int, int, int]]) -> torch.Tensor:
    pixels = np.full((128, 160, 3), (110, 120, 110), np.uint8)
    for x1, y1, x2, y2, colour in blobs:
        pixels[y1:y2, x1:x2] = colour
    return torch.from_numpy(pixels)


def detect(pixels: list[torch.Tensor], prompts: list[Prompt]) -> list[RawDetections]:
    grounder = FakeGrounder()
    sizes = torch.tensor([[128, 160]] * len(pixels))
    queries = [grounder.encode_text([prompt]) for prompt in prompts]
    return grounder.detect(torch.stack(pixels), sizes, queries)


def test_it_finds_blobs_of_the_named_colour() -> None:
    scene = picture((10, 20, 40, 60, (230, 25, 25)), (80, 30, 120, 70, (255, 255, 255)))
    (found,) = detect([scene], [Prompt.of(["red car", "white van"])])
    assert found.boxes_model.tolist() == [[10, 20, 40, 60], [80, 30, 120, 70]]
    np.testing.assert_allclose(found.phrase_scores, np.eye(2))


def test_nothing_there_is_an_empty_answer() -> None:
    (found,) = detect([picture()], [Prompt.of(["red car"])])
    assert found.boxes_model.shape == (0, 4)
    assert found.phrase_scores.shape == (0, 1)


def test_a_picture_is_the_same_alone_and_in_a_batch() -> None:
    scenes = [picture((10, 20, 40, 60, (230, 25, 25))), picture((5, 5, 30, 30, (25, 60, 230)))]
    prompts = [Prompt.of(["red car"]), Prompt.of(["blue car", "red car"])]
    together = detect(scenes, prompts)
    for scene, prompt, answer in zip(scenes, prompts, together, strict=True):
        (alone,) = detect([scene], [prompt])
        np.testing.assert_array_equal(alone.boxes_model, answer.boxes_model)
        np.testing.assert_array_equal(alone.phrase_scores, answer.phrase_scores)


def test_padding_is_not_searched() -> None:
    scene = picture((100, 100, 160, 128, (0, 0, 0)))
    grounder = FakeGrounder()
    (text,) = grounder.encode_text([Prompt.of(["black box"])])
    (found,) = grounder.detect(scene[None], torch.tensor([[100, 100]]), [[text]])
    assert len(found.boxes_model) == 0


def test_phrases_join_to_the_prompt() -> None:
    grounder = FakeGrounder()
    parts = grounder.encode_text([Prompt.of(["red car"]), Prompt.of(["blue car"])])
    (whole,) = grounder.encode_text([Prompt.of(["red car", "blue car"])])
    joined = grounder.join_text(parts)
    assert joined.phrases == whole.phrases
    assert joined.spans == whole.spans
    assert torch.equal(joined.tokens, whole.tokens)


def test_a_phrase_without_a_colour_is_dark() -> None:
    assert colour_of("person") == (40, 40, 40)
    assert colour_of("a White-ish off-white van") == (255, 255, 255)
