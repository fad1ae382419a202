"""A detector in another process, as a stream sees it; it may die and be replaced."""

from __future__ import annotations

import itertools
import logging
import threading
import uuid
from concurrent.futures import Future

from groundstream.models.types import Prompt, RawDetections
from groundstream.operators.detector import DetectionRequest
from groundstream.operators.errors import DetectorUnavailable
from groundstream.pipeline.detectors.messages import DetectorFacts, DetectorLink, ProcessLost, SequenceNumber

log = logging.getLogger("groundstream.detector")


class RemoteDetector:
    """Sends pictures to a detector process and keeps each one until it is answered.

    When the process dies, what it had not answered waits for the next one and is sent again, in order, so
    that a file has no gap. `use` is how the stream's owner names the next one; `give_up` says that there is
    none. Safe from several threads.
    """

    def __init__(self, facts: DetectorFacts, link: DetectorLink) -> None:
        self.info, self.preset, self.size_rule = facts.info, facts.preset, facts.size_rule
        self.max_batch = facts.max_batch
        self._waiting: dict[DetectionRequest, None] = {}  # in the order in which they came
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

    def submit(self, request: DetectionRequest) -> Future[RawDetections]:
        """Have `request` answered; its answer raises `DetectorUnavailable` where none comes."""
        with self._lock:
            if self._gone is not None or not (self._up or self._patient):
                request.answer.set_exception(DetectorUnavailable(self._gone or "the detector has gone"))
                return request.answer
            self._waiting[request] = None
            if self._up:
                self._send(request)
        return request.answer

    def use(self, link: DetectorLink) -> None:
        """Go on with another detector process: what was not answered is sent again, in order."""
        with self._lock:
            self._begin(link)
            if self._waiting:
                log.info("%d pictures are asked again of another detector", len(self._waiting))
            for request in list(self._waiting):
                if self._up:
                    self._send(request)

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
        self._session, self._order = uuid.uuid4().hex, itertools.count()

    def _send(self, request: DetectionRequest) -> None:
        session = self._session
        sent = self._link.ask(request, SequenceNumber(session, next(self._order)))
        sent.add_done_callback(lambda done: self._receive(session, request, done))

    def _receive(self, session: str, request: DetectionRequest, done: Future[RawDetections]) -> None:
        with self._lock:
            # Exactly one answer counts: not that of a process that was left, whose pictures were sent again.
            if session != self._session or request not in self._waiting:
                return
            try:
                raw = done.result()
            except ProcessLost as lost:
                self._lose(str(lost))  # the request waits on, for the next process
            except Exception as error:
                del self._waiting[request]
                if not isinstance(error, DetectorUnavailable):
                    error = DetectorUnavailable(f"the detector failed: {type(error).__name__}: {error}")
                request.answer.set_exception(error)
            else:
                del self._waiting[request]
                request.answer.set_result(raw)

    def _lose(self, reason: str) -> None:
        if not self._up:
            return
        self._up = False
        log.warning("the detector has gone: %s; %d pictures wait for another", reason, len(self._waiting))
        if not self._patient:
            self._refuse("the detector has gone")

    def _refuse(self, reason: str) -> None:
        waiting, self._waiting = list(self._waiting), {}
        for request in waiting:
            request.answer.set_exception(DetectorUnavailable(reason))
