from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from dying_processes import DyingDetector

from groundstream.models.types import Prompt, SizeRule
from groundstream.operators.detector.client import Moment
from groundstream.operators.detector.letterbox import Picture
from groundstream.operators.errors import DetectorUnavailable
from groundstream.pipeline.detectors.host import Turns
from groundstream.pipeline.detectors.messages import Ask, Found, UnknownPrompt
from groundstream.pipeline.detectors.remote import RemoteDetector

PROMPT = Prompt.of(["red car"])
PATIENCE_S = 60


def picture(left: int = 10) -> Picture:
    pixels = np.full((64, 64, 3), 120, np.uint8)
    pixels[10:40, left : left + 20] = (230, 25, 25)
    return Picture(pixels, SizeRule("fit", 64, 64).plan(64, 64))


def moment(time_s: float) -> Moment:
    return Moment("cam", 1, time_s)


@pytest.fixture
def detectors() -> list[DyingDetector]:
    return [DyingDetector("one"), DyingDetector("two")]


@pytest.fixture
def remote(detectors: list[DyingDetector]):
    yield RemoteDetector(detectors[0].load(), detectors[0])
    for detector in detectors:
        detector.kill()


def test_answers_are_those_of_the_model(remote: RemoteDetector) -> None:
    answers = [remote.submit(picture(left), PROMPT, moment(left)) for left in range(8)]
    for left, answer in enumerate(answers):
        assert answer.result(PATIENCE_S).boxes_model.tolist() == [[left, 10, left + 20, 40]]


def test_what_a_dead_detector_did_not_answer_is_asked_again_in_order(
    remote: RemoteDetector, detectors: list[DyingDetector]
) -> None:
    assert len(remote.submit(picture(), PROMPT, moment(0)).result(PATIENCE_S).boxes_model) == 1
    detectors[0].silent = True
    answers = [remote.submit(picture(left), PROMPT, moment(left)) for left in range(1, 6)]
    detectors[0].die()
    assert remote.lost
    late = remote.submit(picture(6), PROMPT, moment(6))
    assert not any(answer.done() for answer in (*answers, late))
    remote.use(detectors[1])
    for left, answer in enumerate((*answers, late), start=1):
        assert answer.result(PATIENCE_S).boxes_model.tolist() == [[left, 10, left + 20, 40]]
    assert detectors[1].asked == [1, 2, 3, 4, 5, 6]
    assert not remote.lost


def test_a_late_answer_of_a_detector_that_was_left_is_passed_over(
    remote: RemoteDetector, detectors: list[DyingDetector]
) -> None:
    detectors[0].silent = True
    answer = remote.submit(picture(), PROMPT, moment(0))
    remote.use(detectors[1])
    assert len(answer.result(PATIENCE_S).boxes_model) == 1
    for waiting in detectors[0]._waiting:
        waiting.set_result(Found(np.zeros((0, 4), np.float32), np.zeros((0, 1), np.float32)))
    detectors[0]._waiting.clear()
    assert len(answer.result().boxes_model) == 1


@pytest.mark.parametrize("end", [lambda remote: remote.give_up("no GPU is left"), RemoteDetector.hurry])
def test_no_detector_is_not_an_empty_answer(
    remote: RemoteDetector, detectors: list[DyingDetector], end: Callable[[RemoteDetector], None]
) -> None:
    detectors[0].die()
    first = remote.submit(picture(), PROMPT, moment(0))
    end(remote)
    for answer in (first, remote.submit(picture(), PROMPT, moment(1))):
        with pytest.raises(DetectorUnavailable, match=r"gone|no GPU"):
            answer.result(PATIENCE_S)


def test_a_prompt_is_sent_once_and_again_where_it_was_forgotten(
    remote: RemoteDetector, detectors: list[DyingDetector]
) -> None:
    sent: list[Prompt | str] = []
    ask = detectors[0].ask

    def watched(call: Ask):
        sent.append(call.prompt)
        return ask(call)

    detectors[0].ask = watched  # type: ignore[method-assign]
    for time_s in range(3):
        remote.submit(picture(), PROMPT, moment(time_s)).result(PATIENCE_S)
    assert sent == [PROMPT, PROMPT.id, PROMPT.id]
    detectors[0]._host._prompts.clear()
    assert len(remote.submit(picture(), PROMPT, moment(3)).result(PATIENCE_S).boxes_model) == 1
    assert sent[3:] == [PROMPT.id, PROMPT]


def test_a_detector_says_when_it_does_not_know_a_prompt(detectors: list[DyingDetector]) -> None:
    one = picture()
    ask = Ask("session", 0, one.pixels, one.plan, PROMPT.id, moment(0))
    assert detectors[0]._host.ask(ask).result(PATIENCE_S) == UnknownPrompt(PROMPT.id)


def test_calls_that_overtake_each_other_wait_for_their_turn() -> None:
    turns, done = Turns(), []
    for turn in (1, 2, 0, 4, 3):
        turns.take("cam", "first", turn, lambda turn=turn: done.append(turn))
    assert done == [0, 1, 2, 3, 4]
    turns.take("cam", "second", 1, lambda: done.append("late"))
    turns.take("other", "third", 0, lambda: done.append("other"))
    turns.take("cam", "second", 0, lambda: done.append("new"))
    assert done[5:] == ["other", "new", "late"]
    turns.forget("cam")


def test_many_threads_may_ask(remote: RemoteDetector) -> None:
    counts: list[int] = []

    def ask(first: int) -> None:
        answers = [remote.submit(picture(), PROMPT, moment(first + n)) for n in range(20)]
        counts.append(sum(len(answer.result(PATIENCE_S).boxes_model) for answer in answers))

    threads = [threading.Thread(target=ask, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert counts == [20] * 4
