from __future__ import annotations

import pytest
import torch

from groundstream.models.common.postprocess import best_rows, corners, iou_matrix, suppress_per_phrase, to_raw


def test_corners() -> None:
    box = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    torch.testing.assert_close(corners(box), torch.tensor([[0.4, 0.3, 0.6, 0.7]]))


def test_iou_matrix() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 5, 5], [4, 4, 3, 3]])
    expected = torch.eye(4)
    expected[2, 2] = expected[3, 3] = 0  # without area
    expected[0, 1] = expected[1, 0] = 1 / 7
    torch.testing.assert_close(iou_matrix(boxes, boxes), expected)


def greedy(boxes: torch.Tensor, scores: torch.Tensor, overlap: float, floor: float) -> torch.Tensor:
    kept = torch.zeros_like(scores)
    table = iou_matrix(boxes, boxes)
    for column in range(scores.shape[1]):
        for row in scores[:, column].argsort(descending=True, stable=True).tolist():
            rivals = kept[:, column].nonzero().flatten()
            if scores[row, column] >= floor and not (table[row, rivals] > overlap).any():
                kept[row, column] = scores[row, column]
    return kept


@pytest.mark.parametrize("seed", range(20))
def test_suppression_equals_the_greedy_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(40, 2, generator=generator) * 20
    boxes = torch.cat((corner, corner + 5 + 10 * torch.rand(40, 2, generator=generator)), 1)
    scores = torch.rand(40, 3, generator=generator)
    found = suppress_per_phrase(boxes, scores, 0.5, 0.2)
    assert torch.equal(found, greedy(boxes, scores, 0.5, 0.2))


def test_suppressed_box_suppresses_nothing() -> None:
    # each overlaps the next: the second falls to the first, so the third stays
    boxes = torch.tensor([[0.0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])
    scores = torch.tensor([[0.9], [0.8], [0.7]])
    assert suppress_per_phrase(boxes, scores, 0.5, 0.1).flatten().tolist() == pytest.approx([0.9, 0, 0.7])


def test_phrases_do_not_suppress_each_other() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    scores = torch.tensor([[0.9, 0.3], [0.8, 0.6]])
    found = suppress_per_phrase(boxes, scores, 0.5, 0.1)
    torch.testing.assert_close(found, torch.tensor([[0.9, 0.0], [0.0, 0.6]]))


@pytest.mark.parametrize(("rows", "phrases"), [(0, 3), (4, 0), (0, 0)])
def test_empty_tables(rows: int, phrases: int) -> None:
    scores = torch.zeros(rows, phrases)
    assert best_rows(scores, 0.1).shape == (0,)
    assert suppress_per_phrase(torch.zeros(rows, 4), scores, 0.5, 0.1).shape == (rows, phrases)


def test_best_rows_are_few_sorted_and_above_the_floor() -> None:
    scores = torch.tensor([[0.1, 0.2], [0.9, 0.0], [0.0, 0.5], [0.3, 0.3]])
    assert best_rows(scores, 0.3).tolist() == [1, 2, 3]
    assert best_rows(scores, 0.0, limit=2).tolist() == [1, 2]
    assert len(best_rows(torch.rand(1000, 2), 0.0)) == 300


def test_raw_detections_are_plain_float32() -> None:
    raw = to_raw(torch.zeros(2, 4, dtype=torch.bfloat16), torch.zeros(2, 3, dtype=torch.float64))
    assert (raw.boxes_model.dtype, raw.phrase_scores.dtype) == ("float32", "float32")
    assert raw.phrase_scores.shape == (2, 3)
