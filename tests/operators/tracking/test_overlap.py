import numpy as np

from groundstream.models.types import RawDetections
from groundstream.operators.tracking.overlap import merge_overlapping


def raw(*rows: tuple[tuple[float, float, float, float], tuple[float, ...]]) -> RawDetections:
    return RawDetections(
        np.array([box for box, _ in rows], np.float32), np.array([scores for _, scores in rows], np.float32)
    )


def test_one_thing_under_two_phrases_is_one_candidate() -> None:
    merged = merge_overlapping(raw(((0, 0, 10, 10), (0.9, 0)), ((0, 0, 10, 9), (0.1, 0.6))), 0.7)
    np.testing.assert_allclose(merged.boxes_model, [[0, 0, 10, 10]])
    np.testing.assert_allclose(merged.phrase_scores, [[0.9, 0.6]])


def test_apart_stays_apart() -> None:
    candidates = raw(((0, 0, 10, 10), (0.9,)), ((8, 0, 18, 10), (0.8,)))
    assert len(merge_overlapping(candidates, 0.7).boxes_model) == 2


def test_a_merged_box_does_not_pull_in_its_own_neighbours() -> None:
    chain = raw(((0, 0, 10, 10), (0.9,)), ((2, 0, 12, 10), (0.8,)), ((4, 0, 14, 10), (0.7,)))
    np.testing.assert_allclose(merge_overlapping(chain, 0.6).boxes_model[:, 0], [0, 4])


def test_empty_and_single_and_flat_boxes() -> None:
    assert merge_overlapping(RawDetections.empty(3), 0.7).phrase_scores.shape == (0, 3)
    one = raw(((0, 0, 10, 10), (0.9,)))
    assert merge_overlapping(one, 0.7) is one
    flat = raw(((0, 0, 0, 10), (0.9,)), ((0, 0, 0, 10), (0.8,)))
    assert 1 <= len(merge_overlapping(flat, 0.7).boxes_model) <= 2
