"""The story of one stream, told by one loop: `StreamWorker.step`.

    source -> letterbox -> detector -> tracker (boxes back in frame pixels) -> rules -> archive -> outputs

Where frames are dropped: never here. Before it, `operators/sources/decode.py` leaves out what `--fps` does
not ask for (`Sampler`), and in a live stream `operators/sources/queues.py` those that a newer one has
overtaken while this loop was busy. Behind it, `operators/sinks/worker.py` drops results of a live stream that
a slow output has no room for. `StreamHealth.dropped` counts all but the first by reason. In a file every part
waits for the slowest, so that nothing is lost. A frame without an answer is not dropped: its result is
`stale`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from groundstream.models.types import Prompt, RawDetections
from groundstream.operators.detector import (
    DetectionRequest,
    DetectorClient,
    FrameTime,
    Letterbox,
    ModelPicture,
)
from groundstream.operators.errors import DetectorUnavailable
from groundstream.operators.events.engine import STREAM_ENDED, RuleEngine
from groundstream.operators.events.event import Event
from groundstream.operators.frames import Frame, FrameResult, SeenObject
from groundstream.operators.sinks import SinkWorker
from groundstream.operators.sources import Source
from groundstream.operators.tracking import PhraseTracker

if TYPE_CHECKING:
    from groundstream.operators.recording.archive import StreamArchive

MOST_FAILURES = 10  # so many frames in a row without an answer end the stream


@dataclass(frozen=True, eq=False)
class Pending:
    """A frame that is with the detector, and what is asked of it there."""

    frame: Frame
    request: DetectionRequest
    timing_ms: dict[str, float]


class StreamWorker:
    """Reads one source, asks the detector, tracks, and hands results to the sinks.

    A file looks ahead, so that the model never waits for it and one file alone can fill a batch; a live
    stream has one frame in flight, and the newest one is next. Results come in the order of the frames.
    """

    def __init__(
        self,
        source: Source,
        detector: DetectorClient,
        letterbox: Letterbox,
        tracker: PhraseTracker,
        sinks: Sequence[SinkWorker],
        prompt: Prompt,
        rules: RuleEngine | None = None,
        archive: StreamArchive | None = None,
    ) -> None:
        self._source, self._frames = source, iter(source)
        self._detector, self._letterbox, self._tracker = detector, letterbox, tracker
        self._sinks, self._rules, self._archive = sinks, rules, archive
        # Held from the rules through the archive: an event that ended in another thread (`interrupt`, `end`)
        # in between would get a clip that nothing ends. Never held while a sink is waited for.
        self._event_lock, self._ended = threading.Lock(), False
        self._prompt, self._prompt_lock = prompt, threading.Lock()
        # More than one frame of a live stream in flight would answer old pictures while newer ones wait.
        self._look_ahead = 1 if source.semantics == "live" else 2 * detector.max_batch
        self._pending: deque[Pending] = deque()
        self._failures = 0

    def __iter__(self) -> Iterator[FrameResult]:
        while result := self.step():
            yield result

    def step(self) -> FrameResult | None:
        """Give the next frame's result to every sink and return it; None when the source has ended.

        Raises:
            SourceError: the source cannot be read.
            DetectorUnavailable: too many frames in a row got no answer.
        """
        self._fill()
        if not self._pending:
            return None
        pending = self._current(self._pending.popleft())
        raw = self._wait(pending)
        result = self._result(pending, raw)
        events: tuple[Event, ...] = ()
        with self._event_lock:
            # After `end` nothing begins any more: nobody would end it, and the archive is closed.
            if self._rules is not None and not self._ended:
                events, result = self._rules.update(result)
            if self._archive is not None and not self._ended:
                events = self._archive.add(result, events)
        # In every output what is told of a frame stands behind the frame's own record.
        for sink in self._sinks:
            sink.put(result)
        self._put_events(events)
        return result

    def interrupt(self, reason: str) -> None:
        """End the events and clips that are open, where the source is lost for now; from any thread.

        Args:
            reason: why it is lost.
        """
        events: tuple[Event, ...] = ()
        with self._event_lock:
            if self._ended:
                return
            if self._rules is not None:
                events = self._rules.interrupt(reason)
            if self._archive is not None:
                events = self._archive.interrupt(reason, events)
        self._put_events(events)

    def end(self, reason: str | None) -> None:
        """End what is open for good, after the source has been closed; from any thread, the first time alone.

        Args:
            reason: why the stream ended before its time; None where it came to its end.
        """
        events: tuple[Event, ...] = ()
        with self._event_lock:
            if self._ended:
                return
            self._ended = True
            if self._rules is not None:
                events = self._rules.end(reason or STREAM_ENDED)
            if self._archive is not None:
                events = self._archive.end(reason, events)
        self._put_events(events)

    @property
    def prompt(self) -> Prompt:
        """The phrases that are asked of the next frame."""
        with self._prompt_lock:
            return self._prompt

    def set_prompt(self, prompt: Prompt) -> tuple[str, ...]:
        """Ask `prompt` from the next result on; tracks keep their ids. Safe from any thread.

        Returns:
            The phrases that the model cannot know.

        Raises:
            ValueError: a phrase is too long for the model; the old prompt stays.
        """
        unknown = self._detector.prepare(prompt)
        with self._prompt_lock:
            self._prompt = prompt
        return unknown

    def _put_events(self, events: Sequence[Event]) -> None:
        for sink in self._sinks:
            for event in events:
                sink.put_event(event)

    def _fill(self) -> None:
        while len(self._pending) < self._look_ahead:
            started = time.perf_counter()
            frame = next(self._frames, None)
            if frame is None:
                return
            read = time.perf_counter()
            assert frame.picture is not None, "a source hands on a frame without its picture"
            picture = self._letterbox(frame.picture)
            timing = {"decode": _ms(read - started), "letterbox": _ms(time.perf_counter() - read)}
            self._pending.append(self._ask(frame, picture, timing))

    def _ask(self, frame: Frame, picture: ModelPicture, timing_ms: dict[str, float]) -> Pending:
        frame_time = FrameTime(frame.stream_id, frame.epoch, frame.time_s)
        request = DetectionRequest(picture, self.prompt, frame_time)
        self._detector.submit(request)
        return Pending(frame, request, timing_ms)

    def _current(self, pending: Pending) -> Pending:
        """Ask again where the prompt has changed since, so that a change holds from the next result on."""
        if pending.request.prompt.id == self.prompt.id:
            return pending
        return self._ask(pending.frame, pending.request.picture, pending.timing_ms)

    def _wait(self, pending: Pending) -> RawDetections | None:
        """Return the detector's answer; None where there is none, which is not the same as nothing found."""
        try:
            raw = pending.request.answer.result()
        except DetectorUnavailable:
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                raise
            return None
        self._failures = 0
        return raw

    def _result(self, pending: Pending, raw: RawDetections | None) -> FrameResult:
        answered = time.perf_counter()
        found = self._track(pending, raw)
        timing = pending.timing_ms | {
            "detect": _ms(answered - pending.request.asked_s),
            "track": _ms(time.perf_counter() - answered),
        }
        return FrameResult(
            pending.frame,
            pending.request.prompt,
            self._detector.info,
            found,
            stale=raw is None,
            timing_ms=timing,
        )

    def _track(self, pending: Pending, raw: RawDetections | None) -> tuple[SeenObject, ...]:
        if raw is None:  # tracks are not told: a gap of time is less wrong than a frame without objects
            return ()
        frame = pending.frame
        return self._tracker.update(
            raw,
            pending.request.picture.plan,
            pending.request.prompt,
            epoch=frame.epoch,
            time_s=frame.time_s,
            # Converted only for trackers that look at it: 1.5 ms and 6 MB for a frame of 1920x1080.
            frame_bgr=lambda: as_bgr(frame),
        )


def as_bgr(frame: Frame) -> NDArray[np.uint8]:
    """Return the frame's picture as (H, W, 3) uint8 BGR."""
    assert frame.picture is not None, "the picture has left"
    return np.asarray(frame.picture.to_ndarray(format="bgr24"), np.uint8)


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
