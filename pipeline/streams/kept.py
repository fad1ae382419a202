"""A stream in a process of its own, which is started again when it dies."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from groundstream.models.types import Prompt
from groundstream.operators.errors import DetectorUnavailable, GroundstreamError, Reason, SourceError
from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult
from groundstream.operators.sinks.open import SinkWorker, is_standard_output
from groundstream.operators.sinks.resume import Resume
from groundstream.operators.urls import mask
from groundstream.pipeline.config.run import OutputConfig
from groundstream.pipeline.detectors.messages import DetectorFacts, DetectorLink, ProcessLost
from groundstream.pipeline.detectors.pool import DetectorPool
from groundstream.pipeline.detectors.restarts import CircuitBreaker, RestartBudget
from groundstream.pipeline.observe.health import StreamHealth
from groundstream.pipeline.streams.base import OnResult, Stream, StreamSpec, StreamView
from groundstream.pipeline.streams.host import LogLine, News
from groundstream.pipeline.streams.outputs import StreamOutputs

log = logging.getLogger("groundstream.supervisor")

MOST_IN_VAIN = 4  # deaths of a file's process without a new frame between them, until the file is given up
NEWS_S = 0.25  # how long a stream may keep its news to itself


class StreamProcess(Protocol):
    """A stream process as its owner sees it: what `StreamHost` says, asked from another process.

    Every method but the last two waits for its answer and raises `ProcessLost` where the process has died.
    """

    def open(self, spec: StreamSpec) -> StreamView:
        """Open the source."""

    def attach(self, facts: DetectorFacts, link: DetectorLink) -> None:
        """Open the outputs and connect the stream with a detector."""

    def start(self, with_results: bool) -> None:
        """Begin."""

    def news(self, wait_s: float) -> News:
        """Return what is new, after `wait_s` seconds at the latest."""

    def set_prompt(self, prompt: Prompt) -> None:
        """Ask other phrases."""

    def use_detector(self, link: DetectorLink) -> None:
        """Go on with another detector."""

    def give_up(self, reason: str) -> None:
        """Go on without a detector."""

    def stop(self) -> None:
        """End soon; waits for nothing and never fails."""

    def kill(self) -> None:
        """End the process at once; never fails."""


class KeptStream(Stream):
    """Follows a stream's process, and starts another one where it dies.

    A file goes on after the last frame that its outputs hold, a camera in a new epoch; see `Resume`.

    Args:
        spec: the stream.
        spawn: starts a process for it.
        pool: the detectors.
        budget: says how long to wait before a restart.
        breaker: leaves alone for longer what dies again and again without a result.
    """

    def __init__(
        self,
        spec: StreamSpec,
        spawn: Callable[[], StreamProcess],
        pool: DetectorPool,
        budget: RestartBudget | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        super().__init__(spec)
        self._spawn, self._pool = spawn, pool
        self._budget, self._breaker = budget or RestartBudget(), breaker or CircuitBreaker()
        self._view = StreamView(StreamHealth(spec.id))
        self._prompt = spec.prompt
        self._stopping = threading.Event()
        self._process: StreamProcess | None = None
        self._attached: StreamProcess | None = None  # the same once it can be stopped and asked
        self._sinks_here = tuple(url for url in spec.config.output.sinks if is_standard_output(url))
        self._here: list[SinkWorker] = []
        self._link: DetectorLink | None = None
        self._delivered = -1
        self._answered = False
        self._furthest, self._vain = -1, 0
        self._with_results = False
        self._before = 0

    @property
    def view(self) -> StreamView:
        """The stream at its last news."""
        view = self._view
        health = dataclasses.replace(view.health, restarts=self._budget.restarts)
        if self.error is not None:
            health = dataclasses.replace(health, state="failed", message=str(self.error))
        return dataclasses.replace(view, health=health, results=view.results + self._before)

    def open(self) -> None:
        """Start the process and open the source in it; standard output is only to be had here.

        Raises:
            GroundstreamError: the source cannot be read, or an output exists already.
            ProcessLost: the process died.
        """
        outputs = StreamOutputs(OutputConfig(sinks=self._sinks_here), self.id)
        self._here = outputs.open(live=False, on_error=self._sink_failed)
        self._process = self._spawn()
        self._view = self._process.open(self._process_spec())

    def attach(self) -> None:
        """Open the outputs and connect the stream with its detector.

        Raises:
            GroundstreamError: an output cannot be opened, or there is no detector.
            ProcessLost: the process died.
        """
        assert self._process is not None, "attach before open"
        while (link := self._pool.link_for(self.id)) is None:
            if self._stopping.wait(NEWS_S):
                raise ProcessLost("it was stopped while it waited for a detector")
        self._link = link
        self._process.attach(self._pool.facts, link)
        self._attached = self._process  # before what `set_prompt` and `stop` have left is looked at
        if self._prompt.id != self.spec.prompt.id:
            self._process.set_prompt(self._prompt)
        if self._stopping.is_set():
            self._process.stop()

    def run(self, on_result: OnResult | None) -> None:
        """Follow the stream to its end, through the deaths of its process."""
        if self._process is None or self._link is None:
            return
        self._with_results = on_result is not None or bool(self._here)
        try:
            self._run(on_result)
        except GroundstreamError as error:
            self.note_error(error)
        except Exception as error:
            log.exception("stream %s: an error that should not happen", self.id)
            self.note_error(error)
        finally:
            self._end()

    def set_prompt(self, prompt: Prompt) -> None:
        """Ask `prompt` from the next result on; a process that is being started begins with it."""
        self._prompt = prompt
        if (process := self._attached) is not None:
            with contextlib.suppress(ProcessLost):
                process.set_prompt(prompt)

    def stop(self) -> None:
        """End soon; a process that is just being started is stopped when it is ready."""
        self._stopping.set()
        if (process := self._attached) is not None:
            process.stop()

    def close(self) -> None:
        """End now; what runs is stopped first so that its outputs are finished."""
        self._stopping.set()
        self._end()

    def _run(self, on_result: OnResult | None) -> None:
        started = False
        while True:
            try:
                if started:
                    self._start_again()
                assert self._process is not None
                self._process.start(self._with_results)
                self._follow(self._process, on_result)
            except ProcessLost as lost:
                started = True
                if not self._wait_after(lost):
                    return
            else:
                return

    def _follow(self, process: StreamProcess, on_result: OnResult | None) -> None:
        ended = False
        while not ended:
            news = process.news(NEWS_S)
            self._take(news, on_result)
            ended = news.ended
            if not ended:
                self._mind_detector(process, news.detector_lost)

    def _take(self, news: News, on_result: OnResult | None) -> None:
        self._view = news.view
        for line in news.lines:
            repeat(line)
        last = news.view.last
        if last is not None and last.seq > self._furthest:
            self._furthest, self._answered, self._vain = last.seq, True, 0
            self._breaker.worked()
        if news.error is not None:
            self.note_error(news.error)
        for item in news.results:
            if isinstance(item, Event):
                for sink in self._here:
                    sink.put_event(item)
            else:
                self._deliver(item, on_result)

    def _deliver(self, result: FrameResult, on_result: OnResult | None) -> None:
        """Hand a result on, once: frames that a process had answered when it died may come again."""
        if result.frame.seq <= self._delivered:
            return
        self._delivered = result.frame.seq
        for sink in self._here:
            sink.put(result)
        if on_result is not None:
            on_result(result)

    def _mind_detector(self, process: StreamProcess, lost: bool) -> None:
        try:
            link = self._pool.link_for(self.id)
        except DetectorUnavailable as error:
            process.give_up(str(error))
            return
        if link is not None and (lost or link is not self._link):
            process.use_detector(link)
            self._link = link

    def _wait_after(self, lost: ProcessLost) -> bool:
        """Wait until the process may be started again; False when the stream is to end meanwhile."""
        assert self._process is not None
        self._attached = None
        self._process.kill()
        if self._stopping.is_set():
            return False
        self._vain += not self._answered
        if self._vain >= MOST_IN_VAIN and not self._view.live:
            where = "its beginning" if self._furthest < 0 else f"frame {self._furthest}"
            source = mask(self.config.source)
            raise SourceError(
                f"{source}: its process died {self._vain} times without getting beyond {where} ({lost}); "
                "what was found before is kept",
                Reason.DECODE,
            )
        wait_s = max(self._budget.next_s(), 0.0 if self._answered else self._breaker.failed())
        self._answered = False
        log.warning("stream %s: its process has gone (%s); started again in %.1f s", self.id, lost, wait_s)
        return not self._stopping.wait(wait_s)

    def _start_again(self) -> None:
        view = self._view
        resume = Resume(
            view.last,
            self._delivered if self._with_results else None,
            live=view.live,
            has_end=view.duration_s is not None,
        )
        self._before += view.results if view.live else 0
        self._process = self._spawn()
        self._view = self._process.open(self._process_spec(resume))
        self.attach()

    def _process_spec(self, resume: Resume | None = None) -> StreamSpec:
        """Return what the process opens: all but the outputs that are opened here."""
        config = self.spec.config
        sinks = tuple(url for url in config.output.sinks if url not in self._sinks_here)
        output = config.output.model_copy(update={"sinks": sinks})
        return dataclasses.replace(
            self.spec, config=config.model_copy(update={"output": output}), resume=resume
        )

    def _sink_failed(self, sink: str, error: Exception) -> None:
        self.note_error(error)
        output = self._process_spec().config.output
        if all(worker.failed for worker in self._here) and output.dir is None and not output.sinks:
            self.stop()

    def _end(self) -> None:
        self._pool.release(self.id)
        for sink in self._here:
            sink.close()
        process, self._process, self._attached = self._process, None, None
        if process is not None:
            process.kill()


def repeat(line: LogLine) -> None:
    """Log here what was logged in another process."""
    logging.getLogger(line.name).log(line.level, "%s", line.text)
