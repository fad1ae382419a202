"""A detector in a process of its own: takes the requests of many streams, of each in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from groundstream.models.types import Prompt, RawDetections
from groundstream.operators.detector import DetectionRequest
from groundstream.operators.detector.batcher import Batcher
from groundstream.operators.text import HandedTexts
from groundstream.pipeline.detectors.messages import DetectorFacts, Prepared, SequenceNumber
from groundstream.pipeline.observe.health import DetectorHealth, detector_health


class DetectorHost:
    """Answers streams of other processes with a `Batcher`; safe from several threads.

    Args:
        batcher: runs the model.
        texts: its text store, through which detectors share what they encode.
        name: what it is called in health and metrics.
        device: what the model computes on.
    """

    def __init__(self, batcher: Batcher, texts: HandedTexts, name: str, device: str) -> None:
        self._batcher, self._texts = batcher, texts
        self._name, self._device = name, device
        self._order = ReorderBuffer()

    @property
    def facts(self) -> DetectorFacts:
        """What streams have to know of the model."""
        batcher = self._batcher
        return DetectorFacts(batcher.info, batcher.preset, batcher.size_rule, batcher.max_batch)

    @property
    def health(self) -> DetectorHealth:
        """How it does; its streams and restarts are its owner's business."""
        return detector_health(self._name, self._device, self._batcher.counters)

    def prepare(self, prompt: Prompt) -> Prepared:
        """Encode `prompt` unless its text was handed in.

        Raises:
            ValueError: a phrase is longer than the model's text limit.
        """
        return Prepared(self._batcher.prepare(prompt), self._texts.hand_out())

    def learn(self, texts: Mapping[str, bytes]) -> None:
        """Take over what another detector has encoded."""
        self._texts.hand_in(texts)

    def ask(self, request: DetectionRequest, number: SequenceNumber) -> Future[RawDetections]:
        """Detect in a picture once those of its stream that come before it have been handed to the model."""
        self._order.take(request.frame_time.stream_id, number, lambda: self._batcher.submit(request))
        return request.answer

    def end_stream(self, stream_id: str) -> None:
        """Forget a stream that has ended."""
        self._order.forget(stream_id)
        self._batcher.end_stream(stream_id)

    def close(self) -> None:
        """Answer what waits and stop."""
        self._batcher.close()
        self._texts.close()


class ReorderBuffer:
    """Lets the pictures of a stream go in their order: calls between processes may overtake each other.

    The temporal memory would take a frame that comes too early for the present, and those before it for late.
    """

    def __init__(self) -> None:
        self._streams: dict[str, _Queue] = {}
        self._lock = threading.Lock()

    def take(self, stream_id: str, number: SequenceNumber, action: Callable[[], object]) -> None:
        """Do `action` when those of its session before it have been done; a new session starts at 0."""
        with self._lock:
            queue = self._streams.get(stream_id)
            if queue is None or queue.session != number.session:
                queue = self._streams[stream_id] = _Queue(number.session)
            queue.early[number.value] = action
            while (ready := queue.early.pop(queue.next_number, None)) is not None:
                queue.next_number += 1
                ready()

    def forget(self, stream_id: str) -> None:
        """Forget a stream that has ended."""
        with self._lock:
            self._streams.pop(stream_id, None)


class _Queue:
    def __init__(self, session: str) -> None:
        self.session, self.next_number = session, 0
        self.early: dict[int, Callable[[], object]] = {}
