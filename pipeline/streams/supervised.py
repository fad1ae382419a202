"""A stream in a process of its own, which is started again when it dies.

`SupervisedStream` is the life of such a stream, told from its owner's process. It has its restarts (when the
next process comes, or none), its placement (which detector it asks) and its standard output (all other
outputs are written by the stream's process itself).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from groundstream.models.types import Prompt
from groundstream.operators.errors import DetectorUnavailable, GroundstreamError, Reason, SourceError
from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult
from groundstream.operators.sinks import SinkWorker, is_standard_output
from groundstream.operators.sinks.resume import Resume
from groundstream.operators.urls import mask
from groundstream.pipeline.config.run import OutputConfig
from groundstream.pipeline.detectors.messages import DetectorLink, ProcessLost
from groundstream.pipeline.detectors.pool import DetectorPool
from groundstream.pipeline.observe.health import StreamHealth
from groundstream.pipeline.streams.base import OnResult, Stream, StreamSpec, StreamView
from groundstream.pipeline.streams.host import LogLine, StreamHost, Updates
from groundstream.pipeline.streams.outputs import StreamOutputs
from groundstream.pipeline.streams.restarts import StreamRestarts

log = logging.getLogger("groundstream.supervisor")

UPDATES_S = 0.25  # how long a stream may keep what is new to itself

P = ParamSpec("P")
R = TypeVar("R")


class StreamProcess(Protocol):
    """A process that holds a `StreamHost`, as its owner sees it: asked by the host's own methods.

    view = process.ask(StreamHost.open, spec)
    """

    def ask(
        self, method: Callable[Concatenate[StreamHost, P], R], *arguments: P.args, **named: P.kwargs
    ) -> R:
        """Call `method` there and return its answer.

        Raises:
            ProcessLost: the process has died.
        """

    def tell(
        self, method: Callable[Concatenate[StreamHost, P], None], *arguments: P.args, **named: P.kwargs
    ) -> None:
        """Call `method` there; waits for nothing and never fails."""

    def kill(self) -> None:
        """End the process at once; never fails."""


class Placement:
    """Which detector a stream asks; the pool may move it at any time."""

    def __init__(self, pool: DetectorPool, stream_id: str) -> None:
        self._pool, self._stream_id = pool, stream_id
        self._link: DetectorLink | None = None

    def attach(self, process: StreamProcess, stopping: threading.Event) -> None:
        """Wait for a detector and connect a new process with it.

        Raises:
            GroundstreamError: an output cannot be opened, or no detector will be there.
            ProcessLost: the process died, or the stream is to stop.
        """
        while (link := self._pool.link_for(self._stream_id)) is None:
            if stopping.wait(UPDATES_S):
                raise ProcessLost("it was stopped while it waited for a detector")
        self._link = link
        process.ask(StreamHost.attach, self._pool.facts, link)

    def follow(self, process: StreamProcess, *, lost: bool) -> None:
        """Name the detector anew where the pool has moved the stream, or the process has `lost` its own."""
        try:
            link = self._pool.link_for(self._stream_id)
        except DetectorUnavailable as error:
            process.ask(StreamHost.give_up, str(error))
            return
        if link is not None and (lost or link is not self._link):
            process.ask(StreamHost.use_detector, link)
            self._link = link

    def release(self) -> None:
        """Leave the detector to others."""
        self._pool.release(self._stream_id)


class StandardOutput:
    """A stream's outputs on standard output, which only its owner's process has.

    Attributes:
        elsewhere: all other outputs; the stream's process opens them.
    """

    def __init__(self, output: OutputConfig, stream_id: str) -> None:
        self._stream_id = stream_id
        self._urls = tuple(url for url in output.sinks if is_standard_output(url))
        others = tuple(url for url in output.sinks if url not in self._urls)
        self.elsewhere = output.model_copy(update={"sinks": others})
        self._workers: list[SinkWorker] = []

    def open(self, on_error: Callable[[str, Exception], None]) -> None:
        """Open them; `on_error` is told when one cannot be written any more.

        Raises:
            OutputError: one cannot be opened.
        """
        # They wait for a slow reader of the pipe also where the stream is live: the stream's process drops.
        outputs = StreamOutputs(OutputConfig(sinks=self._urls), self._stream_id)
        self._workers = outputs.open(live=False, on_error=on_error)

    @property
    def is_wanted(self) -> bool:
        """Whether there is one that has not failed."""
        return not all(worker.failed for worker in self._workers)

    @property
    def is_all(self) -> bool:
        """Whether there is no output elsewhere."""
        return self.elsewhere.dir is None and not self.elsewhere.sinks

    def put(self, item: FrameResult | Event) -> None:
        """Write a result or an event."""
        for worker in self._workers:
            if isinstance(item, Event):
                worker.put_event(item)
            else:
                worker.put(item)

    def close(self) -> None:
        """Finish them; may be called twice."""
        for worker in self._workers:
            worker.close()


class SupervisedStream(Stream):
    """Follows a stream's process, and starts another one where it dies.

    A file goes on after the last frame that its outputs hold, a camera in a new epoch; see `Resume`. No frame
    is handed on twice: what a process had answered when it died may be answered again by the next.

    Args:
        spec: the stream.
        spawn: starts a process for it.
        pool: the detectors.
        restarts: says how long to wait before a restart, and when there is none.
    """

    def __init__(
        self,
        spec: StreamSpec,
        spawn: Callable[[], StreamProcess],
        pool: DetectorPool,
        restarts: StreamRestarts | None = None,
    ) -> None:
        super().__init__(spec)
        self._spawn = spawn
        self._restarts = restarts or StreamRestarts()
        self._placement = Placement(pool, spec.id)
        self._standard_output = StandardOutput(spec.config.output, spec.id)
        self._prompt = spec.prompt
        self._stopping = threading.Event()
        self._process: StreamProcess | None = None
        self._attached: StreamProcess | None = None  # the same once it can be stopped and asked
        self._view = self._before = StreamView(StreamHealth(spec.id))  # before: when its process was replaced
        self._has_reader = False
        self._delivered = -1  # number of the last frame that was handed on here

    @property
    def view(self) -> StreamView:
        """The stream at its last update."""
        view = self._view
        health = dataclasses.replace(view.health, restarts=self._restarts.count)
        if self.error is not None:
            health = dataclasses.replace(health, state="failed", message=str(self.error))
        return dataclasses.replace(view, health=health)

    def open(self) -> None:
        """Start the process and open the source in it.

        Raises:
            GroundstreamError: the source cannot be read, or an output exists already.
            ProcessLost: the process died.
        """
        self._standard_output.open(self._output_failed)
        self._spawn_and_open()

    def attach(self) -> None:
        """Open the outputs and connect the stream with its detector.

        Raises:
            GroundstreamError: an output cannot be opened, or there is no detector.
            ProcessLost: the process died.
        """
        assert self._process is not None, "attach before open"
        self._placement.attach(self._process, self._stopping)
        self._attached = self._process  # before what `set_prompt` and `stop` have left is looked at
        if self._prompt.id != self.spec.prompt.id:
            self._process.ask(StreamHost.set_prompt, self._prompt)
        if self._stopping.is_set():
            self._process.tell(StreamHost.stop)

    def run(self, on_result: OnResult | None) -> None:
        """Follow the stream to its end, through the deaths of its process."""
        if self._attached is None:
            return
        self._has_reader = on_result is not None
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
                process.ask(StreamHost.set_prompt, prompt)

    def stop(self) -> None:
        """End soon; a process that is just being started is stopped when it is ready."""
        self._stopping.set()
        if (process := self._attached) is not None:
            process.tell(StreamHost.stop)

    def close(self) -> None:
        """End now; what runs is stopped first so that its outputs are finished."""
        self._stopping.set()
        self._end()

    def _run(self, on_result: OnResult | None) -> None:
        is_first = True
        while True:
            try:
                if not is_first:
                    self._resume()
                self._follow(on_result)
                return
            except ProcessLost as lost:
                is_first = False
                if not self._wait_after(lost):
                    return

    def _follow(self, on_result: OnResult | None) -> None:
        process = self._process
        assert process is not None
        process.ask(StreamHost.start, self._with_results)
        while True:
            updates = process.ask(StreamHost.updates, UPDATES_S)
            self._take(updates, on_result)
            if updates.ended:
                return
            self._placement.follow(process, lost=updates.detector_lost)

    def _take(self, updates: Updates, on_result: OnResult | None) -> None:
        self._view = self._with_before(updates.view)
        for line in updates.lines:
            repeat(line)
        if updates.view.last is not None:
            self._restarts.reached(updates.view.last.seq)
        if updates.error is not None:
            self.note_error(updates.error)
        for item in updates.results:
            if isinstance(item, Event):
                self._standard_output.put(item)
            elif item.frame.seq > self._delivered:  # the only place where a repeated frame is dropped
                self._delivered = item.frame.seq
                self._standard_output.put(item)
                if on_result is not None:
                    on_result(item)

    def _wait_after(self, lost: ProcessLost) -> bool:
        """Wait until the process may be started again; False when the stream is to end meanwhile.

        Raises:
            SourceError: the stream is given up.
        """
        assert self._process is not None
        self._attached = None
        self._process.kill()
        if self._stopping.is_set():
            return False
        wait_s = self._restarts.next_s(live=self._view.live)
        if wait_s is None:
            furthest = self._restarts.furthest
            where = "its beginning" if furthest < 0 else f"frame {furthest}"
            raise SourceError(
                f"{mask(self.config.source)}: its process died {self._restarts.in_vain} times without "
                f"getting beyond {where} ({lost}); what was found before is kept",
                Reason.DECODE,
            )
        log.warning("stream %s: its process has gone (%s); started again in %.1f s", self.id, lost, wait_s)
        return not self._stopping.wait(wait_s)

    @property
    def _with_results(self) -> bool:
        """Whether anybody here takes results of the stream's process."""
        return self._has_reader or self._standard_output.is_wanted

    def _resume(self) -> None:
        """Start another process where the last one was."""
        view = self._view
        # What was delivered here is a limit only where somebody here takes results; files know by themselves.
        delivered = self._delivered if self._with_results else None
        resume = Resume(view.last, delivered, live=view.live, has_end=view.duration_s is not None)
        self._spawn_and_open(resume)
        self.attach()

    def _spawn_and_open(self, resume: Resume | None = None) -> None:
        config = self.spec.config.model_copy(update={"output": self._standard_output.elsewhere})
        spec = dataclasses.replace(self.spec, config=config, resume=resume)
        self._process = self._spawn()
        view = self._process.ask(StreamHost.open, spec)
        # Only now: a process that dies before it is open has counted nothing.
        self._before = self._view
        self._view = self._with_before(view)

    def _with_before(self, view: StreamView) -> StreamView:
        """Return a process's view with the counts of those before it; a file's results count them anyway."""
        before = self._before
        dropped = Counter(before.dropped)
        dropped.update(view.dropped)
        results = before.results + view.results if view.live else max(before.results, view.results)
        # A process that dies before its first frame must not make the next one begin anew.
        last = view.last or before.last
        return dataclasses.replace(view, results=results, dropped=dict(dropped), last=last)

    def _output_failed(self, sink: str, error: Exception) -> None:
        self.note_error(error)
        if self._with_results:
            return
        if self._standard_output.is_all:
            self.stop()  # also where its process is only being started again
        elif (process := self._attached) is not None:
            process.tell(StreamHost.owner_left)  # it knows whether its own outputs have failed, too

    def _end(self) -> None:
        self._placement.release()
        self._standard_output.close()
        process, self._process, self._attached = self._process, None, None
        if process is not None:
            process.kill()


def repeat(line: LogLine) -> None:
    """Log here what was logged in another process."""
    logging.getLogger(line.name).log(line.level, "%s", line.text)
