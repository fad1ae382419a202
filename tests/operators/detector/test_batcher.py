import pickle
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from groundstream.models.base import Query
from groundstream.models.fake import FakeGrounder
from groundstream.models.types import Prompt, RawDetections, SizeRule
from groundstream.operators.detector.batcher import Batcher
from groundstream.operators.detector.client import DetectionRequest, FrameTime
from groundstream.operators.detector.letterbox import ModelPicture
from groundstream.operators.errors import DetectorUnavailable

PROMPT = Prompt.of(["red car"])


class GatedGrounder(FakeGrounder):
    """A fake whose forward waits at a gate, so that requests gather behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.entered = threading.Event(), threading.Event()
        self.broken = False

    def detect(
        self,
        pixels: torch.Tensor,
        content_px: torch.Tensor,
        queries: Sequence[Query],
        floor: float | None = None,
    ) -> list[RawDetections]:
        self.entered.set()
        assert self.gate.wait(10)
        if self.broken:
            raise RuntimeError("out of memory")
        return super().detect(pixels, content_px, queries, floor)


def request(left: int = 10, size: int = 64, prompt: Prompt = PROMPT) -> DetectionRequest:
    pixels = np.full((size, size, 3), 120, np.uint8)
    pixels[10:40, left : left + 20] = (230, 25, 25)
    picture = ModelPicture(pixels, SizeRule("fit", size, size).plan(size, size))
    return DetectionRequest(picture, prompt, FrameTime("cam", 1, 0.0))


@pytest.fixture
def grounder() -> GatedGrounder:
    return GatedGrounder()


@pytest.fixture
def batcher(grounder: GatedGrounder) -> Iterator[Batcher]:
    detector = Batcher(grounder, lambda prompt: grounder.encode_text([prompt]), max_batch=4)
    yield detector
    grounder.gate.set()
    detector.close()


def test_what_gathers_while_the_model_runs_goes_as_one_batch(
    batcher: Batcher, grounder: GatedGrounder
) -> None:
    first = batcher.submit(request())
    assert grounder.entered.wait(5)
    others = [
        batcher.submit(request(left, prompt=Prompt.of(["red car", f"dog {left}"]))) for left in range(5)
    ]
    grounder.gate.set()
    assert first.result(5).boxes_model.tolist() == [[10, 10, 30, 40]]
    for left, answer in enumerate(others):
        assert answer.result(5).boxes_model.tolist() == [[left, 10, left + 20, 40]]
    assert dict(batcher.counters.sizes) == {1: 2, 4: 1}


def test_pictures_of_another_size_wait_for_the_next_batch(batcher: Batcher, grounder: GatedGrounder) -> None:
    batcher.submit(request())
    assert grounder.entered.wait(5)
    answers = [batcher.submit(request(size=size)) for size in (64, 96, 64)]
    grounder.gate.set()
    for answer in answers:
        assert len(answer.result(5).boxes_model) == 1
    assert dict(batcher.counters.sizes) == {1: 2, 2: 1}


def test_a_failure_reaches_every_caller_and_the_next_batch_goes_on(
    batcher: Batcher, grounder: GatedGrounder
) -> None:
    first = batcher.submit(request())
    assert grounder.entered.wait(5)
    second = [batcher.submit(request()) for _ in range(3)]
    grounder.broken = True
    grounder.gate.set()
    for answer in (first, *second):
        with pytest.raises(DetectorUnavailable, match="out of memory"):
            answer.result(5)
    grounder.broken = False
    assert len(batcher.submit(request()).result(5).boxes_model) == 1


def test_closing_answers_what_waits(grounder: GatedGrounder) -> None:
    detector = Batcher(grounder, lambda prompt: grounder.encode_text([prompt]), max_batch=1)
    running = detector.submit(request())
    assert grounder.entered.wait(5)
    waiting = detector.submit(request())
    closer = threading.Thread(target=detector.close)
    closer.start()
    with pytest.raises(DetectorUnavailable, match="closed"):
        waiting.result(5)
    grounder.gate.set()
    assert len(running.result(5).boxes_model) == 1
    closer.join(5)
    detector.close()
    with pytest.raises(DetectorUnavailable, match="closed"):
        detector.submit(request()).result(5)


def test_a_batch_holds_at_least_one(grounder: GatedGrounder) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Batcher(grounder, lambda prompt: [], max_batch=0)


def test_text_is_asked_for_once_per_prompt_not_per_picture() -> None:
    grounder, asked = FakeGrounder(), []

    def encode(prompt: Prompt) -> Query:
        asked.append(prompt.phrases)
        return grounder.encode_text([prompt])

    detector = Batcher(grounder, encode, max_batch=2)
    other = Prompt.of(["blue car"])
    detector.prepare(PROMPT)
    for answer in [
        detector.submit(request(prompt=prompt)) for prompt in (PROMPT, PROMPT, other, PROMPT, other)
    ]:
        answer.result(5)
    detector.close()
    assert asked == [("red car",), ("blue car",)]


def test_waits_and_inference_are_measured(batcher: Batcher, grounder: GatedGrounder) -> None:
    first = batcher.submit(request())
    assert grounder.entered.wait(5)
    second = batcher.submit(request())
    threading.Event().wait(0.05)
    grounder.gate.set()
    first.result(5), second.result(5)
    wait_ms, inference_ms = batcher.counters.queue_wait_ms.read(), batcher.counters.inference_ms.read()
    assert (wait_ms.count, inference_ms.count, batcher.counters.batches) == (2, 2, 2)
    assert wait_ms.p99 >= 50  # the second waited for the first
    assert wait_ms.p50 < wait_ms.p99
    assert inference_ms.p99 >= 50
    assert batcher.counters.busy_s * 1e3 == pytest.approx(inference_ms.total)


def test_a_caller_that_cancels_hinders_nobody(batcher: Batcher, grounder: GatedGrounder) -> None:
    running = batcher.submit(request())
    assert grounder.entered.wait(5)
    waiting = batcher.submit(request())
    assert running.cancel()
    assert waiting.cancel()
    grounder.gate.set()
    assert len(batcher.submit(request()).result(5).boxes_model) == 1


def test_what_is_pickled_of_a_request_is_the_question() -> None:
    asked = request()
    asked.answer.set_result(RawDetections.empty(1))
    copy = pickle.loads(pickle.dumps(asked, protocol=5))
    assert (copy.picture.pixels == asked.picture.pixels).all()
    assert copy.picture.plan == asked.picture.plan
    assert (copy.prompt, copy.frame_time) == (asked.prompt, asked.frame_time)
    assert not copy.answer.done()
    assert copy.asked_s > asked.asked_s
