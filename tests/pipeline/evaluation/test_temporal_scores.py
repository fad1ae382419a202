import numpy as np

from groundstream.models.types import RawDetections
from groundstream.pipeline.evaluation.measure import ScoreEMA


def answer(*boxes: tuple[float, float, float]) -> RawDetections:
    """Boxes of 10 x 10 by left side, with two scores each."""
    rows = [[left, 0, left + 10, 10] for left, _, _ in boxes]
    return RawDetections(
        np.array(rows, np.float32).reshape(-1, 4), np.array([s for _, *s in boxes], np.float32).reshape(-1, 2)
    )


def test_the_first_answer_is_not_changed() -> None:
    raw = answer((0, 0.9, 0.1), (30, 0.5, 0.2))
    for before in (None, answer()):
        found = ScoreEMA().step(raw, before, 0.1)
        np.testing.assert_array_equal(found.boxes_model, raw.boxes_model)
        np.testing.assert_array_equal(found.phrase_scores, raw.phrase_scores)


def test_scores_of_what_overlaps_are_averaged_by_time() -> None:
    smooth = ScoreEMA(half_life_s=1.0)
    found = smooth.step(answer((1, 0.8, 0.0)), answer((0, 0.4, 0.2)), dt_s=1.0)
    np.testing.assert_allclose(found.phrase_scores, [[0.6, 0.1]], atol=1e-6)
    assert found.boxes_model[0, 0] == 1
    np.testing.assert_allclose(
        smooth.step(answer((1, 0.8, 0.0)), answer((0, 0.4, 0.2)), dt_s=1e4).phrase_scores, [[0.8, 0.0]]
    )


def test_what_is_lost_fades() -> None:
    smooth, state = ScoreEMA(half_life_s=1.0, floor=0.3), answer((0, 0.8, 0.0))
    scores = []
    for _ in range(3):
        state = smooth.step(answer((50, 0.1, 0.5)), state, dt_s=0.5)
        scores.append([round(float(best), 2) for best in state.phrase_scores.max(1)])
    assert scores == [[0.57, 0.5], [0.5, 0.4], [0.5]]


def test_two_boxes_are_not_matched_to_one() -> None:
    found = ScoreEMA(half_life_s=1.0).step(answer((0, 0.8, 0), (2, 0.6, 0)), answer((0, 0.4, 0)), dt_s=1.0)
    np.testing.assert_allclose(found.phrase_scores[:, 0], [0.6, 0.6], atol=1e-6)
    assert found.boxes_model[:, 0].tolist() == [0, 2]


def test_nothing_at_all() -> None:
    assert len(ScoreEMA().step(answer(), None, 0.1).boxes_model) == 0
    assert len(ScoreEMA().step(answer(), answer(), 0.1).boxes_model) == 0
