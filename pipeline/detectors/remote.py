"""A detector in another process, as a stream sees it; it may die and be replaced."""

from __future__ import annotations

import logging
import threading
import uuid
from concurrent.futures import Future
from dataclasses import dataclass, field

from groundstream.models.types import Prompt, RawDetections
from groundstream.operators.detector.client import Moment
from groundstream.operators.detector.letterbox import Picture
from groundstream.operators.errors import DetectorUnavailable
from groundstream.pipeline.detectors.messages import (
    Answer,
    Ask,
    DetectorFacts,
    DetectorLink,
    Found,
    NoAnswer,
    ProcessLost,
)

log = logging.getLogger("groundstream.detector")


@dataclass(eq=False)
class Asked:
    """A picture that waits for its answer."""

    picture: Picture
    prompt: Prompt
    moment: Moment
    answer: Future[RawDetections] = field(default_factory=Future)


class RemoteDetector:
    """Sends pictures to a detector process and keeps each one until it is answered.

    When the process dies, what it had not answered waits for the next one and is sent again, in order, so
    that a file has no gap. `use` is how the stream's owner names the next one; `give_up` says that there is
    none. Safe from several threads.
    """

    def __init__(self, facts: DetectorFacts, link: DetectorLink) -> None:
        self.info, self.preset, self.size_rule = facts.info, facts.preset, facts.size_rule
        self.max_batch = facts.max_batch
        self._waiting: dict[Asked, None] = {}  # in the order in which they came
        self._lock = threading.RLock()
        self._gone: str | None = None
        self._patient = True
        self._begin(link)

    @property
    def lost(self) -> bool:
        """Whether the process has gone and the next one is not named yet."""
        return not self._up

    def prepare(self, prompt: Prompt) -> tuple[str, ...]:
        """Return nothing: the stream's owner has every prompt prepared before a stream hears of it."""
        return ()

    def submit(self, picture: Picture, prompt: Prompt, moment: Moment) -> Future[RawDetections]:
        """Ask for `prompt` in `picture`; the future raises `DetectorUnavailable` where no answer comes."""
        asked = Asked(picture, prompt, moment)
        with self._lock:
            if self._gone is not None or not (self._up or self._patient):
                asked.answer.set_exception(DetectorUnavailable(self._gone or "the detector has gone"))
                return asked.answer
            self._waiting[asked] = None
            if self._up:
                self._send(asked)
        return asked.answer

    def use(self, link: DetectorLink) -> None:
        """Go on with another detector process: what was not answered is sent again, in order."""
        with self._lock:
            self._begin(link)
            if self._waiting:
                log.info("%d pictures are asked again of another detector", len(self._waiting))
            for asked in list(self._waiting):
                if self._up:
                    self._send(asked)

    def end_stream(self, stream_id: str) -> None:
        """Tell the detector that the stream has ended."""
        with self._lock:
            if self._up:
                self._link.end_stream(stream_id)

    def hurry(self) -> None:
        """Wait for no other detector from now on: the stream is about to end."""
        with self._lock:
            self._patient = False
            if not self._up:
                self._refuse("the detector has gone")

    def give_up(self, reason: str) -> None:
        """Answer nothing any more: there is no detector, for the `reason` given."""
        with self._lock:
            self._gone = reason
            self._refuse(reason)

    def close(self) -> None:
        """Answer what waits with `DetectorUnavailable`; may be called twice."""
        self.give_up("the detector was closed")

    def _begin(self, link: DetectorLink) -> None:
        self._link, self._up = link, True
        self._session, self._turn = uuid.uuid4().hex, 0
        self._sent_prompts: set[str] = set()

    def _send(self, asked: Asked, *, again: bool = False) -> None:
        """Send a picture, the first one of a prompt with the prompt; `again` out of turn."""
        known = asked.prompt.id in self._sent_prompts and not again
        turn = None if again else self._turn
        self._turn += not again
        self._sent_prompts.add(asked.prompt.id)
        prompt = asked.prompt.id if known else asked.prompt
        session, pixels, plan = self._session, asked.picture.pixels, asked.picture.plan
        sent = self._link.ask(Ask(session, turn, pixels, plan, prompt, asked.moment))
        sent.add_done_callback(lambda done: self._receive(session, asked, done))

    def _receive(self, session: str, asked: Asked, done: Future[Answer]) -> None:
        with self._lock:
            if session != self._session or asked not in self._waiting:
                return  # an answer of a process that was given up
            try:
                answer = done.result()
            except ProcessLost as lost:
                self._lose(str(lost))
                return
            except Exception as error:
                answer = NoAnswer(f"the detector failed: {type(error).__name__}: {error}")
            self._take(asked, answer)

    def _take(self, asked: Asked, answer: Answer) -> None:
        if isinstance(answer, Found):
            del self._waiting[asked]
            asked.answer.set_result(RawDetections(*answer))
        elif isinstance(answer, NoAnswer):
            del self._waiting[asked]
            asked.answer.set_exception(DetectorUnavailable(answer.message))
        elif self._up:
            self._send(asked, again=True)

    def _lose(self, reason: str) -> None:
        if not self._up:
            return
        self._up = False
        log.warning("the detector has gone: %s; %d pictures wait for another", reason, len(self._waiting))
        if not self._patient:
            self._refuse("the detector has gone")

    def _refuse(self, reason: str) -> None:
        waiting, self._waiting = list(self._waiting), {}
        for asked in waiting:
            asked.answer.set_exception(DetectorUnavailable(reason))
