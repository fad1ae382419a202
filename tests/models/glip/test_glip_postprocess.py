"""From predictions to boxes on cases made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from groundstream.models.glip.head import Predictions
from groundstream.models.glip.postprocess import (
    MOST_BOXES,
    Found,
    anchors,
    decode,
    encode,
    find_boxes,
    not_suppressed,
    pixel_iou,
    surviving,
    to_raw,
)

SIZES = ((4, 4), (2, 2), (1, 1), (1, 1), (1, 1))
POSITIONS = 23


def predictions(tokens: int = 3) -> Predictions:
    """A batch of one in which nothing is found."""
    return Predictions(
        torch.zeros(1, POSITIONS, 4),
        torch.zeros(1, POSITIONS),
        torch.full((1, POSITIONS, tokens), -9.0),
        SIZES,
    )


def greedy(boxes: Tensor, phrases: Tensor) -> list[bool]:
    overlap, keep = pixel_iou(boxes, boxes), []
    for row in range(len(boxes)):
        strong = [k for k in range(row) if keep[k] and phrases[k] == phrases[row]]
        keep.append(all(overlap[k, row] <= 0.6 for k in strong))
    return keep


def found(boxes: Tensor, scores: Tensor, phrases: Tensor) -> Found:
    return Found(boxes, scores, phrases, torch.arange(len(boxes)))


def test_anchors_are_centred_as_recorded() -> None:
    first = {int(box[2] - box[0] + 1): box.tolist() for box in anchors(((1, 1),) * 5, torch.device("cpu"))}
    assert first[64] == [-28, -28, 35, 35]
    assert first[1024] == [-448, -448, 575, 575]


def test_encode_is_the_inverse_of_decode() -> None:
    torch.manual_seed(0)
    around = anchors(SIZES, torch.device("cpu"))
    deltas = torch.randn(POSITIONS, 4)
    torch.testing.assert_close(encode(decode(deltas, around), around), deltas, rtol=1e-3, atol=1e-3)


def test_growth_is_limited() -> None:
    around = torch.tensor([[0.0, 0, 9, 9]])
    box = decode(torch.tensor([[0.0, 0, 1e4, 1e4]]), around)
    assert float(box[0, 2] - box[0, 0] + 1) == pytest.approx(10 * 1000 / 16, rel=1e-4)


def test_the_last_pixel_belongs_to_a_box() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 4], [10, 0, 19, 9]])
    assert pixel_iou(boxes[:1], boxes).tolist() == [[1.0, 0.5, 0.0]]


@pytest.mark.parametrize("seed", range(5))
def test_suppression_equals_the_greedy_loop(seed: int) -> None:
    torch.manual_seed(seed)
    corner = torch.rand(200, 2) * 40
    boxes = torch.cat((corner, corner + 10 + torch.rand(200, 2) * 10), 1)
    phrases = torch.randint(0, 3, (200,))
    kept = not_suppressed(found(boxes, torch.linspace(1, 0, 200), phrases))
    assert kept.tolist() == greedy(boxes, phrases)


def test_suppression_stays_within_a_phrase_and_is_strict() -> None:
    same = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 5]])
    phrases = torch.tensor([0, 1, 0, 0])  # the last one overlaps the first by exactly 0.6
    assert not_suppressed(found(same, torch.linspace(1, 0.7, 4), phrases)).tolist() == [
        True,
        True,
        False,
        True,
    ]


def test_the_best_hundred_of_many_and_all_ties() -> None:
    """Thousands of boxes that do not touch: the first look is not enough when they tie."""
    place = torch.arange(1500, dtype=torch.float32)[:, None] * 20
    boxes = place + torch.tensor([0.0, 0, 9, 9])
    falling = torch.linspace(1, 0.1, 1500)
    assert len(surviving(found(boxes, falling, torch.zeros(1500)))) == MOST_BOXES
    tied = torch.cat((falling[:50], torch.full((700,), 0.05)))
    assert len(surviving(found(boxes[:750], tied, torch.zeros(750)))) == 750


def test_a_score_is_the_root_of_mean_probability_times_centerness() -> None:
    out = predictions()
    out.logits[0, 20] = torch.tensor([0.0, 2.0, -2.0])
    out.centerness[0, 20] = 1.0
    mean = torch.tensor([2.0, -2.0]).sigmoid().mean()
    best = find_boxes(out, 0, [(1, 3)], (32, 32), 0.0)
    assert best.positions.tolist() == [20]
    assert float(best.scores) == pytest.approx(float((mean * torch.tensor(1.0).sigmoid()).sqrt()))


def test_the_threshold_looks_at_the_phrase_alone() -> None:
    out = predictions()
    for position, probability in ((20, 0.049), (21, 0.051)):
        out.logits[0, position, 0] = torch.logit(torch.tensor(probability))
        out.centerness[0, position] = 20.0 if position == 20 else -3.0
    assert find_boxes(out, 0, [(0, 1)], (32, 32), 0.0).positions.tolist() == [21]
    assert find_boxes(out, 0, [(0, 1)], (32, 32), 0.2).positions.tolist() == []


def test_boxes_end_at_the_picture_not_at_the_canvas() -> None:
    out = predictions()
    out.logits[0, :, 0] = 3.0
    boxes = find_boxes(out, 0, [(0, 1)], (17, 25), 0.0).boxes
    assert boxes[:, :2].min() == 0
    assert boxes.amax(0).tolist()[2:] == [24, 16]


@pytest.mark.parametrize("spans", [[], [(0, 0)], [(1, 1), (2, 2)]])
def test_no_phrase_or_no_token_finds_nothing(spans: list[tuple[int, int]]) -> None:
    out = predictions()
    out.logits[:] = 5.0
    best = find_boxes(out, 0, spans, (32, 32), 0.0)
    raw = to_raw(best, len(spans))
    assert raw.boxes_model.shape == (0, 4)
    assert raw.phrase_scores.shape == (0, len(spans))


def test_a_position_with_two_phrases_is_one_row() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 20, 29, 29], [0, 0, 9, 9]])
    both = Found(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 0, 0]), torch.tensor([5, 3, 5]))
    raw = to_raw(both, 2)
    np.testing.assert_allclose(raw.phrase_scores, [[0.7, 0.9], [0.8, 0]])
    assert raw.boxes_model.tolist() == [[0, 0, 9, 9], [20, 20, 29, 29]]
    assert raw.boxes_model.dtype == raw.phrase_scores.dtype == np.float32
