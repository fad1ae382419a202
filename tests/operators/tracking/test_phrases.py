import numpy as np
import pytest

from groundstream.models.types import Prompt
from groundstream.operators.tracking.phrases import PhraseMemory, PhraseRule

RULE = PhraseRule(enter=0.5, leave=0.3, smooth_s=0.5, life_s=1.0)


def memory(*phrases: str, rule: PhraseRule = RULE) -> PhraseMemory:
    return PhraseMemory(Prompt.of(phrases), rule)


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_the_first_observation_counts_whole() -> None:
    track = memory("cat", "dog").observe(1, scores(0.6, 0.2), 0.0)
    assert (track.label, track.score) == (0, pytest.approx(0.6))
    assert track.holds.tolist() == [True, False]


def test_one_wrong_frame_does_not_change_the_label() -> None:
    phrases = memory("cat", "dog")
    for step in range(20):
        wrong = step == 15
        track = phrases.observe(1, scores(0.1, 0.9) if wrong else scores(0.8, 0.1), step / 10)
        assert track.label == 0


def test_lasting_evidence_changes_the_label_but_not_before_its_minimum_life() -> None:
    phrases = memory("cat", "dog")
    phrases.observe(1, scores(0.8, 0.1), 0.0)
    changes = [phrases.observe(1, scores(0.45, 0.9), step / 10).label for step in range(1, 20)]
    assert changes[8] == 0  # at 0.9 s
    assert changes[9] == 1  # at 1.0 s


def test_enter_and_leave_lie_apart() -> None:
    phrases = memory("cat", rule=PhraseRule(0.5, 0.3, smooth_s=0))
    labels = [
        phrases.observe(1, scores(value), step).label for step, value in enumerate([0.4, 0.5, 0.4, 0.29, 0.4])
    ]
    assert labels == [-1, 0, 0, -1, -1]


def test_smoothing_is_in_seconds_not_frames() -> None:
    slow, fast = memory("cat"), memory("cat")
    for phrases, rate in ((slow, 5), (fast, 50)):
        phrases.observe(1, scores(1.0), 0.0)
        for step in range(1, rate + 1):
            phrases.observe(1, scores(0.0), step / rate)
    left = slow.get(1), fast.get(1)
    assert left[0] is not None
    assert left[1] is not None
    assert left[0].scores[0] == pytest.approx(np.exp(-2), rel=1e-4)
    assert left[1].scores[0] == pytest.approx(np.exp(-2), rel=1e-4)


def test_a_new_query_keeps_the_scores_of_phrases_that_stay() -> None:
    phrases = memory("cat", "dog")
    phrases.observe(1, scores(0.2, 0.8), 0.0)
    phrases.set_prompt(Prompt.of(["Dog", "horse"]))
    track = phrases.get(1)
    assert track is not None
    assert (track.label, track.score) == (0, pytest.approx(0.8))
    assert np.isnan(track.scores[1])
    track = phrases.observe(1, scores(0.8, 0.6), 0.1)
    assert track.scores[1] == pytest.approx(0.6)
    assert track.holds.tolist() == [True, True]


def test_a_query_without_the_tracks_phrase_leaves_it_unnamed_until_seen_again() -> None:
    phrases = memory("cat")
    phrases.observe(1, scores(0.9), 0.0)
    phrases.set_prompt(Prompt.of(["animal"]))
    track = phrases.get(1)
    assert track is not None
    assert track.label == -1
    assert phrases.observe(1, scores(0.7), 0.1).label == 0


def test_tracks_that_are_gone_are_forgotten() -> None:
    phrases = memory("cat")
    for track_id in range(1000):
        phrases.observe(track_id, scores(0.9), track_id / 10)
        phrases.keep_only({track_id, track_id - 1})
    assert len(phrases) == 2


def test_a_clock_that_stands_or_goes_back_changes_nothing() -> None:
    phrases = memory("cat")
    phrases.observe(1, scores(0.9), 5.0)
    for time_s in (5.0, 4.0):
        assert phrases.observe(1, scores(0.0), time_s).score == pytest.approx(0.9)


@pytest.mark.parametrize("values", [(0.3, 0.5), (1.2, 0.1), (0.5, -0.1)])
def test_thresholds_must_make_sense(values: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="leave <= enter"):
        PhraseRule(*values)
