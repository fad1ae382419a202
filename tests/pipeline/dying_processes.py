"""Detectors in threads of this process that can be told to die, in place of processes on a cluster."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from groundstream.models.fake import FakeGrounder
from groundstream.models.types import Prompt, RawDetections
from groundstream.operators.detector import DetectionRequest
from groundstream.operators.detector.batcher import Batcher
from groundstream.operators.text import HandedTexts
from groundstream.operators.text.cache import CachedTextEncoder, TextCache
from groundstream.pipeline.detectors.host import DetectorHost
from groundstream.pipeline.detectors.messages import DetectorFacts, Prepared, ProcessLost, SequenceNumber
from groundstream.pipeline.observe.health import DetectorHealth


class CountingFake(FakeGrounder):
    """Remembers which phrases it has encoded."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[str] = []

    def encode_text(self, prompts: Any) -> Any:
        self.encoded += [phrase for prompt in prompts for phrase in prompt.phrases]
        return super().encode_text(prompts)


class DyingDetector:
    """A detector that forgets everything, and what waits in it, when it dies."""

    def __init__(self, name: str, *, loads: bool = True) -> None:
        self.grounder = CountingFake()
        texts = HandedTexts(None)
        encoder = CachedTextEncoder(self.grounder, TextCache(texts))
        self._host = DetectorHost(Batcher(self.grounder, encoder.encode, 4), texts, name, "cpu")
        self._loads = loads
        self._waiting: set[Future[RawDetections]] = set()
        self.dead = self.silent = False
        self.asked: list[float] = []
        self.link = self

    def load(self) -> DetectorFacts:
        if not self._loads:
            raise ProcessLost("it died while it loaded")
        return self._alive().facts

    def prepare(self, prompt: Prompt) -> Prepared:
        return self._alive().prepare(prompt)

    def learn(self, texts: Mapping[str, bytes]) -> None:
        self._alive().learn(texts)

    def health(self) -> DetectorHealth:
        return self._alive().health

    def ask(self, request: DetectionRequest, number: SequenceNumber) -> Future[RawDetections]:
        self.asked.append(request.frame_time.time_s)
        answer: Future[RawDetections] = Future()
        if self.dead:
            answer.set_exception(ProcessLost("it has died"))
        elif self.silent:
            self._waiting.add(answer)
        else:
            copy = pickle.loads(pickle.dumps(request))
            self._host.ask(copy, number).add_done_callback(lambda done: answered(done, answer))
        return answer

    def end_stream(self, stream_id: str) -> None:
        self._host.end_stream(stream_id)

    def die(self) -> None:
        """Die as `kill -9` has it."""
        self.dead = True
        for answer in self._waiting:
            answer.set_exception(ProcessLost("it has died"))
        self._waiting.clear()

    def kill(self) -> None:
        self.dead = True
        self._host.close()

    def _alive(self) -> DetectorHost:
        if self.dead:
            raise ProcessLost("it has died")
        return self._host


def answered(done: Future[RawDetections], answer: Future[RawDetections]) -> None:
    """Pass an answer on, or the error in its place."""
    if (error := done.exception()) is not None:
        answer.set_exception(error)
    else:
        answer.set_result(done.result())
