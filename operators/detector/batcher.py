"""The detector in this process: a thread that takes what waits, as one batch, and runs the model on it."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch

from groundstream.models.base import Grounder, Query
from groundstream.models.types import Prompt, RawDetections
from groundstream.operators.detector.client import DetectionRequest
from groundstream.operators.detector.temporal import TemporalDetector
from groundstream.operators.errors import DetectorUnavailable
from groundstream.operators.utils.quantiles import SlidingQuantiles

PROMPTS_KEPT = 64  # whose text is at hand without asking the cache; more than streams usually ask at once

log = logging.getLogger("groundstream.detector")


@dataclass
class BatcherCounters:
    """What the detector did since its start; only its thread writes.

    Attributes:
        pictures: pictures answered.
        batches: batches answered.
        failures: batches that the model failed on.
        busy_s: time that the model worked.
        sizes: how many batches of each size there were.
        queue_wait_ms: from a picture's arrival to the start of its batch.
        inference_ms: from the start of a batch to its answers.
    """

    pictures: int = 0
    batches: int = 0
    failures: int = 0
    busy_s: float = 0.0
    sizes: Counter[int] = field(default_factory=Counter)
    queue_wait_ms: SlidingQuantiles = field(default_factory=SlidingQuantiles)
    inference_ms: SlidingQuantiles = field(default_factory=SlidingQuantiles)

    def note(self, waits_s: Sequence[float], took_s: float) -> None:
        """Count a batch that was answered: how long each picture waited, and how long the model took."""
        self.pictures += len(waits_s)
        self.batches += 1
        self.sizes[len(waits_s)] += 1
        self.inference_ms.add(took_s * 1e3)
        for wait_s in waits_s:
            self.queue_wait_ms.add(wait_s * 1e3)


class Batcher:
    """Greedy batching without a timer: requests gather while the model runs, then those of one size go.

    Pictures of different streams and with different prompts share a batch when their canvas sizes are equal.
    Requests are answered in order of arrival of the oldest one; nothing waits for a batch to fill. With
    `temporal`, that one answers instead of the grounder, with what it remembers of each stream. Beside
    `utils.worker.Worker`, not on it: that one takes items one at a time, and never out of their order.
    """

    def __init__(
        self,
        grounder: Grounder,
        encode: Callable[[Prompt], Query],
        max_batch: int,
        temporal: TemporalDetector | None = None,
    ) -> None:
        if max_batch < 1:
            raise ValueError(f"expected max_batch of at least 1, but got {max_batch}")
        self.info, self.preset, self.size_rule = grounder.info, grounder.preset, grounder.size_rule
        self.device = str(grounder.device)
        self.temporal = temporal
        if temporal is not None:
            self.info = replace(self.info, adapter=temporal.adapter.name)
        self.max_batch = max_batch
        self.counters = BatcherCounters()
        self._grounder, self._encode = grounder, lru_cache(PROMPTS_KEPT)(encode)
        self._waiting: deque[DetectionRequest] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="detector", daemon=True)
        self._thread.start()

    def prepare(self, prompt: Prompt) -> tuple[str, ...]:
        """Encode `prompt` now; return the phrases of which the tokenizer knows no part."""
        self._encode(prompt)
        return self._grounder.unknown_phrases(prompt)

    def submit(self, request: DetectionRequest) -> Future[RawDetections]:
        """Have `request` answered; its answer raises `DetectorUnavailable` where none comes."""
        with self._wake:
            if self._closed:
                request.answer.set_exception(DetectorUnavailable("the detector is closed"))
            else:
                self._waiting.append(request)
                self._wake.notify()
        return request.answer

    def end_stream(self, stream_id: str) -> None:
        """Forget what is remembered of a stream that has ended; unknown ids are fine."""
        if self.temporal is not None:
            self.temporal.end_stream(stream_id)

    def close(self) -> None:
        """Answer what waits with `DetectorUnavailable` and stop the thread; may be called twice."""
        with self._wake:
            self._closed = True
            left, self._waiting = list(self._waiting), deque()
            self._wake.notify()
        for request in left:
            _answer(request, DetectorUnavailable("the detector was closed"))
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            started = time.perf_counter()
            try:
                answers = self._detect(batch)
            except Exception as error:
                self.counters.busy_s += time.perf_counter() - started
                self._fail(batch, error)
            else:
                took_s = time.perf_counter() - started
                self.counters.busy_s += took_s
                self.counters.note([started - request.asked_s for request in batch], took_s)
                for request, raw in zip(batch, answers, strict=True):
                    _answer(request, raw)

    def _take(self) -> list[DetectionRequest]:
        """Wait for a request; return it with all that wait beside it with the same canvas, oldest first."""
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return []
            # The oldest picture says which canvas is next: one of a rare size is not passed over for ever.
            canvas = self._waiting[0].picture.plan.canvas_px
            batch, rest = list[DetectionRequest](), deque[DetectionRequest]()
            for request in self._waiting:
                fits = len(batch) < self.max_batch and request.picture.plan.canvas_px == canvas
                (batch if fits else rest).append(request)
            self._waiting = rest
            return batch

    def _detect(self, batch: list[DetectionRequest]) -> list[RawDetections]:
        pictures = [request.picture.pixels for request in batch]
        pixels = torch.from_numpy(np.stack(pictures) if len(batch) > 1 else pictures[0][None])
        content = torch.tensor([request.picture.plan.content_px for request in batch])
        queries = [self._encode(request.prompt) for request in batch]
        if self.temporal is None:
            answers = self._grounder.detect(pixels, content, queries)
        else:
            times = [request.frame_time for request in batch]
            answers = self.temporal.detect(pixels, content, queries, times)
        assert len(answers) == len(batch), f"{len(answers)} answers to {len(batch)} pictures"
        return answers

    def _fail(self, batch: list[DetectionRequest], error: Exception) -> None:
        self.counters.failures += 1
        log.warning("the model failed on a batch of %d: %s: %s", len(batch), type(error).__name__, error)
        for request in batch:
            failure = DetectorUnavailable(f"the model failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
            _answer(request, failure)


def _answer(request: DetectionRequest, answer: RawDetections | DetectorUnavailable) -> None:
    """Give the caller its answer, unless it has cancelled: that must not end the detector's thread."""
    if not request.answer.set_running_or_notify_cancel():
        return
    if isinstance(answer, DetectorUnavailable):
        request.answer.set_exception(answer)
    else:
        request.answer.set_result(answer)
