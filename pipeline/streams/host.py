"""A stream in a process of its own: runs it in a thread, and tells its owner what is new."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from groundstream.models.types import Prompt
from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult
from groundstream.operators.sinks import Sink
from groundstream.operators.urls import mask
from groundstream.pipeline.detectors.messages import DetectorFacts, DetectorLink
from groundstream.pipeline.detectors.remote import RemoteDetector
from groundstream.pipeline.streams.base import StreamSpec, StreamView
from groundstream.pipeline.streams.runner import StreamRunner

MOST_RESULTS = 32  # results that the owner may lag behind before the stream waits for it
MOST_LINES = 500  # of its log; the oldest go when the owner is away


@dataclass(frozen=True)
class LogLine:
    """A line of the log, masked, on its way to the owner's process."""

    level: int
    name: str
    text: str


@dataclass(frozen=True)
class Updates:
    """What became of a stream since its owner asked last.

    Attributes:
        view: the stream now.
        results: answered frames and events in order, pictures left out; empty where the owner wants none.
        lines: what was logged.
        error: why the stream or an output of it failed; None while all is well.
        detector_lost: whether it waits for another detector.
        ended: whether it has ended, its outputs are finished and nothing more will come.
    """

    view: StreamView
    results: tuple[FrameResult | Event, ...]
    lines: tuple[LogLine, ...]
    error: Exception | None
    detector_lost: bool
    ended: bool


class StreamHost:
    """Holds one stream; its methods are called from several threads, in the order in which they stand."""

    def __init__(self) -> None:
        self._runner: StreamRunner | None = None
        self._detector: RemoteDetector | None = None
        self._change = threading.Condition()
        self._results: deque[FrameResult | Event] = deque()
        self._with_results = False
        self._lines: deque[LogLine] = deque(maxlen=MOST_LINES)
        self._ended = self._stopping = False

    def open(self, spec: StreamSpec) -> StreamView:
        """Open the source, and look whether the outputs may be written.

        Raises:
            SourceError: the source cannot be read.
            OutputError: an output exists already.
        """
        self._runner = runner = StreamRunner(spec)
        runner.open()
        runner.check_outputs()
        return runner.view

    def attach(self, facts: DetectorFacts, link: DetectorLink) -> None:
        """Open the outputs and put the stream together, with the detector behind `link`.

        The owner is one of the outputs: results and events for it take the same way as all others.

        Raises:
            OutputError: an output cannot be opened.
        """
        self._detector = RemoteDetector(facts, link)
        self._opened.attach(self._detector, OwnerSink(self._keep))

    def start(self, with_results: bool) -> None:
        """Begin; results and events are kept for the owner where it wants them."""
        self._with_results = with_results
        threading.Thread(target=self._run, name="stream", daemon=True).start()

    def owner_left(self) -> None:
        """Keep no results any more; the stream ends where it has no output left either."""
        with self._change:
            self._with_results = False
            self._change.notify_all()
        self._opened.owner_left()

    def updates(self, wait_s: float) -> Updates:
        """Return what is new; waits up to `wait_s` seconds for something that the owner should know."""
        with self._change:
            self._change.wait_for(lambda: self._results or self._ended, timeout=wait_s)
            results, ended = tuple(self._results), self._ended
            self._results.clear()
            lines = tuple(self._lines.popleft() for _ in range(len(self._lines)))
            self._change.notify_all()
        runner = self._opened
        lost = self._detector is not None and self._detector.lost
        return Updates(runner.view, results, lines, runner.error, lost, ended)

    def set_prompt(self, prompt: Prompt) -> None:
        """Ask `prompt` from the next result on."""
        self._opened.set_prompt(prompt)

    def use_detector(self, link: DetectorLink) -> None:
        """Go on with another detector."""
        assert self._detector is not None, "use_detector before attach"
        self._detector.use(link)

    def give_up(self, reason: str) -> None:
        """Go on without a detector, for the `reason` given: every frame is stale, and the stream ends."""
        assert self._detector is not None, "give_up before attach"
        self._detector.give_up(reason)

    def stop(self) -> None:
        """End soon; frames that are with the detector are still answered, unless it has gone."""
        with self._change:
            self._stopping = True
            self._change.notify_all()
        if self._detector is not None:
            self._detector.hurry()
        self._opened.stop()

    def note(self, line: LogLine) -> None:
        """Keep a line of the log for the owner; the oldest goes where it does not ask."""
        self._lines.append(line)

    @property
    def _opened(self) -> StreamRunner:
        assert self._runner is not None, "open comes first"
        return self._runner

    def _run(self) -> None:
        try:
            self._opened.run(owner_listens=self._with_results)
        finally:
            with self._change:
                self._ended = True
                self._change.notify_all()

    def _keep(self, result: FrameResult | Event) -> None:
        if not self._with_results:
            return
        with self._change:
            self._change.wait_for(lambda: len(self._results) < MOST_RESULTS or self._stopping)
            self._results.append(result)
            self._change.notify_all()


class OwnerSink(Sink):
    """An output that is the stream's owner, in another process."""

    name = "owner"

    def __init__(self, keep: Callable[[FrameResult | Event], None]) -> None:
        self._keep = keep

    def write(self, result: FrameResult) -> None:
        """Keep a result for the owner; waits while it lags behind."""
        self._keep(result)

    def write_event(self, event: Event) -> None:
        """Keep an event for the owner; waits while it lags behind."""
        self._keep(event)

    def close(self) -> None:
        """Do nothing: the owner hears of the end in the updates."""


class LinesToOwner(logging.Handler):
    """Keeps what groundstream logs in this process for the stream's owner, without secrets."""

    def __init__(self, host: StreamHost) -> None:
        super().__init__()
        self._host = host

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self._host.note(LogLine(record.levelno, record.name, mask(self.format(record))))


def log_to(host: StreamHost, level: int) -> None:
    """Send all of groundstream's log in this process to the owner of `host`."""
    ours = logging.getLogger("groundstream")
    ours.handlers[:] = [LinesToOwner(host)]
    ours.setLevel(level)
    ours.propagate = False
