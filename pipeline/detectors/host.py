"""A detector in a process of its own: takes pictures in their turn, knows prompts by id."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from groundstream.models.types import Prompt, RawDetections
from groundstream.operators.detector.batcher import PROMPTS_KEPT, Batcher
from groundstream.operators.detector.letterbox import Picture
from groundstream.operators.errors import DetectorUnavailable
from groundstream.operators.text.store_handed import HandedTexts
from groundstream.pipeline.detectors.messages import (
    Answer,
    Ask,
    DetectorFacts,
    Found,
    NoAnswer,
    Prepared,
    UnknownPrompt,
)
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
        self._prompts: OrderedDict[str, Prompt] = OrderedDict()
        self._turns = Turns()
        self._lock = threading.Lock()

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
        unknown = self._batcher.prepare(prompt)
        self._know(prompt)
        return Prepared(unknown, self._texts.hand_out())

    def learn(self, texts: Mapping[str, bytes]) -> None:
        """Take over what another detector has encoded."""
        self._texts.hand_in(texts)

    def ask(self, ask: Ask) -> Future[Answer]:
        """Detect in a picture once those before it have been handed to the model."""
        answer: Future[Answer] = Future()
        if ask.turn is None:
            self._submit(ask, answer)
        else:
            self._turns.take(ask.moment.stream_id, ask.session, ask.turn, lambda: self._submit(ask, answer))
        return answer

    def end_stream(self, stream_id: str) -> None:
        """Forget a stream that has ended."""
        self._turns.forget(stream_id)
        self._batcher.end_stream(stream_id)

    def close(self) -> None:
        """Answer what waits and stop."""
        self._batcher.close()
        self._texts.close()

    def _submit(self, ask: Ask, answer: Future[Answer]) -> None:
        prompt = self._known(ask.prompt)
        if prompt is None:
            answer.set_result(UnknownPrompt(str(ask.prompt)))
            return
        found = self._batcher.submit(Picture(ask.pixels, ask.plan), prompt, ask.moment)
        found.add_done_callback(lambda done: answer.set_result(_answer(done)))

    def _known(self, prompt: Prompt | str) -> Prompt | None:
        if isinstance(prompt, Prompt):
            self._know(prompt)
            return prompt
        with self._lock:
            return self._prompts.get(prompt)

    def _know(self, prompt: Prompt) -> None:
        with self._lock:
            self._prompts[prompt.id] = prompt
            self._prompts.move_to_end(prompt.id)
            if len(self._prompts) > PROMPTS_KEPT:
                self._prompts.popitem(last=False)


class Turns:
    """Lets the pictures of a stream go in their order: calls between processes may overtake each other."""

    def __init__(self) -> None:
        self._streams: dict[str, _Queue] = {}
        self._lock = threading.Lock()

    def take(self, stream_id: str, session: str, turn: int, action: Callable[[], None]) -> None:
        """Do `action` when turns 0 to `turn` - 1 of the session have been done; a new session starts at 0."""
        with self._lock:
            queue = self._streams.get(stream_id)
            if queue is None or queue.session != session:
                queue = self._streams[stream_id] = _Queue(session)
            queue.early[turn] = action
            while (ready := queue.early.pop(queue.next_turn, None)) is not None:
                queue.next_turn += 1
                ready()

    def forget(self, stream_id: str) -> None:
        """Forget a stream that has ended."""
        with self._lock:
            self._streams.pop(stream_id, None)


class _Queue:
    def __init__(self, session: str) -> None:
        self.session, self.next_turn = session, 0
        self.early: dict[int, Callable[[], None]] = {}


def _answer(done: Future[RawDetections]) -> Answer:
    error = done.exception()
    if error is None:
        raw = done.result()
        return Found(raw.boxes_model, raw.phrase_scores)
    if isinstance(error, DetectorUnavailable):
        return NoAnswer(str(error))
    return NoAnswer(f"the detector failed: {type(error).__name__}: {error}")
