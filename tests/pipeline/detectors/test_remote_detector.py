from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from dying_processes import DyingDetector

from groundstream.models.types import Prompt, RawDetections, SizeRule
from groundstream.operators.detector import DetectionRequest, FrameTime, ModelPicture
from groundstream.operators.errors import DetectorUnavailable
from groundstream.pipeline.detectors.host import ReorderBuffer
from groundstream.pipeline.detectors.messages import SequenceNumber
from groundstream.pipeline.detectors.remote import RemoteDetector

PROMPT = Prompt.of(["red car"])
PATIENCE_S = 60


def request(time_s: float, left: int = 10) -> DetectionRequest:
    pixels = np.full((64, 64, 3), 120, np.uint8)
    pixels[10:40, left : left + 20] = (230, 25, 25)
    picture = ModelPicture(pixels, SizeRule("fit", 64, 64).plan(64, 64))
    return DetectionRequest(picture, PROMPT, FrameTime("cam", 1, time_s))


@pytest.fixture
def detectors() -> list[DyingDetector]:
    return [DyingDetector("one"), DyingDetector("two")]


@pytest.fixture
def remote(detectors: list[DyingDetector]):
    yield RemoteDetector(detectors[0].load(), detectors[0])
    for detector in detectors:
        detector.kill()


def test_answers_are_those_of_the_model(remote: RemoteDetector) -> None:
    answers = [remote.submit(request(left, left)) for left in range(8)]
    for left, answer in enumerate(answers):
        assert answer.result(PATIENCE_S).boxes_model.tolist() == [[left, 10, left + 20, 40]]


def test_what_a_dead_detector_did_not_answer_is_asked_again_in_order(
    remote: RemoteDetector, detectors: list[DyingDetector]
) -> None:
    assert len(remote.submit(request(0)).result(PATIENCE_S).boxes_model) == 1
    detectors[0].silent = True
    answers = [remote.submit(request(left, left)) for left in range(1, 6)]
    detectors[0].die()
    assert remote.lost
    late = remote.submit(request(6, 6))
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
    answer = remote.submit(request(0))
    remote.use(detectors[1])
    assert len(answer.result(PATIENCE_S).boxes_model) == 1
    for waiting in detectors[0]._waiting:
        waiting.set_result(RawDetections.empty(1))
    detectors[0]._waiting.clear()
    assert len(answer.result().boxes_model) == 1


@pytest.mark.parametrize("end", [lambda remote: remote.give_up("no GPU is left"), RemoteDetector.hurry])
def test_no_detector_is_not_an_empty_answer(
    remote: RemoteDetector, detectors: list[DyingDetector], end: Callable[[RemoteDetector], None]
) -> None:
    detectors[0].die()
    first = remote.submit(request(0))
    end(remote)
    for answer in (first, remote.submit(request(1))):
        with pytest.raises(DetectorUnavailable, match=r"gone|no GPU"):
            answer.result(PATIENCE_S)


def test_why_a_detector_has_no_answer_is_known_and_the_next_picture_is_answered(
    remote: RemoteDetector, detectors: list[DyingDetector]
) -> None:
    encode = detectors[0].grounder.encode_text
    detectors[0].grounder.encode_text = lambda prompts: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(DetectorUnavailable, match="the model failed: ZeroDivisionError"):
        remote.submit(request(0)).result(PATIENCE_S)
    detectors[0].grounder.encode_text = encode  # type: ignore[method-assign]
    assert len(remote.submit(request(1)).result(PATIENCE_S).boxes_model) == 1
    assert not remote.lost


def test_an_error_that_should_not_happen_is_no_empty_answer(
    remote: RemoteDetector, detectors: list[DyingDetector]
) -> None:
    detectors[0].silent = True
    answer = remote.submit(request(0))
    for waiting in detectors[0]._waiting:
        waiting.set_exception(TypeError("what is this"))
    detectors[0]._waiting.clear()
    with pytest.raises(DetectorUnavailable, match="the detector failed: TypeError: what is this"):
        answer.result(PATIENCE_S)


def test_calls_that_overtake_each_other_are_put_in_order() -> None:
    buffer, done = ReorderBuffer(), []
    for number in (1, 2, 0, 4, 3):
        buffer.take("cam", SequenceNumber("first", number), lambda number=number: done.append(number))
    assert done == [0, 1, 2, 3, 4]
    buffer.take("cam", SequenceNumber("second", 1), lambda: done.append("late"))
    buffer.take("other", SequenceNumber("third", 0), lambda: done.append("other"))
    buffer.take("cam", SequenceNumber("second", 0), lambda: done.append("new"))
    assert done[5:] == ["other", "new", "late"]
    buffer.forget("cam")


def test_many_threads_may_ask(remote: RemoteDetector) -> None:
    counts: list[int] = []

    def ask(first: int) -> None:
        answers = [remote.submit(request(first + n)) for n in range(20)]
        counts.append(sum(len(answer.result(PATIENCE_S).boxes_model) for answer in answers))

    threads = [threading.Thread(target=ask, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert counts == [20] * 4
