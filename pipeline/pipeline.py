"""The pipeline: streams in, tracked phrases out, in this process or on a Ray cluster."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from typing import Any

from groundstream.models.types import Prompt
from groundstream.operators.frames import FrameResult
from groundstream.pipeline.config.file import checked
from groundstream.pipeline.config.run import (
    RunConfig,
    StreamConfig,
    distinct_ids,
    idle_settings,
    phrases_given,
    source_given,
)
from groundstream.pipeline.observe.health import PipelineHealth
from groundstream.pipeline.streams.base import Executor, OnResult, Stream, StreamSpec, warn_unknown

log = logging.getLogger("groundstream.pipeline")

CLOSE_S = 60.0  # patience with a stream that is to end; after it the stream is cut off
RESULTS_WAITING = 8  # results that a reader of the pipeline may lag behind; in this process with their frames


class Pipeline:
    """Streams in, tracked phrases out.

    A stream that fails hinders no other; its error is kept on the stream and, once all have ended, raised
    by `run`. Streams come and go while it runs.

        with Pipeline(config) as pipeline:
            for result in pipeline:
                ...
    """

    def __init__(self, config: RunConfig) -> None:
        """Open the sources, the outputs and the model.

        Raises:
            SourceError: no source can be read.
            OutputError: an output cannot be opened.
            ModelError: the model cannot be had.
            ConfigError: a phrase is too long for the model.
            ClusterError: the Ray cluster cannot be had.
        """
        self.config = config
        for sentence in idle_settings(config):
            log.warning("%s", sentence)
        self._several = len(config.streams) > 1
        self._change = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._on_result: OnResult | None = None
        self._running = self._closed = False
        self._streams: list[Stream] = []
        specs = self._specs(config.streams)
        self._executor = make_executor(config, specs)
        try:
            self._streams += self._executor.open(specs)
        except BaseException:
            self.close()
            raise

    @property
    def streams(self) -> Sequence[Stream]:
        """The streams that are or were in the pipeline, without those that were removed."""
        return tuple(self._streams)

    def run(self, on_result: OnResult | None = None) -> None:
        """Run every stream to its end, or until `stop`; `on_result` is called in a thread of the stream's.

        Raises:
            GroundstreamError: the first error of a stream or an output, after all streams have ended.
        """
        with self._change:
            self._running, self._on_result = True, on_result
            for stream in self._streams:
                self._start(stream)
        while (thread := self._next_thread()) is not None:
            thread.join()
        self.close()
        errors = [stream.error for stream in self._streams if stream.error is not None]
        if errors:
            raise errors[0]

    def __iter__(self) -> Iterator[FrameResult]:
        """Yield the results of all streams as they come; leaving the loop stops the pipeline.

        Under Ray a result's `frame.picture` is None; its width and height are there.
        """
        results: queue.Queue[FrameResult | Exception | None] = queue.Queue(RESULTS_WAITING)
        runner = threading.Thread(target=self._run_into, args=(results,), name="pipeline")
        runner.start()
        try:
            while (item := results.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.stop()
            _drain(results, runner)

    def add(
        self, source: str | PathLike[str] | int | StreamConfig, phrases: Iterable[str] = (), **settings: Any
    ) -> Stream:
        """Add a stream, which begins at once where the pipeline runs.

        Its files lie in a folder of its own below the run's.

        Args:
            source: file, folder of images, URL or webcam; or a whole stream's configuration.
            phrases: what to look for in it; the run's own when empty.
            settings: further keys of a stream's configuration (`id`, `fps`, ...).

        Raises:
            GroundstreamError: a setting is not as it should be, or the stream cannot be opened.
            ValueError: a phrase is empty, a stream of this id is there already, or the pipeline has ended.
        """
        if self._closed:
            raise ValueError("the pipeline has ended; open another one for further streams")
        if not isinstance(source, StreamConfig):
            asked = {"source": source_given(source), "phrases": phrases_given(phrases), **settings}
            source = checked(StreamConfig, asked)
        spec = StreamSpec(self._free_id(source), _alone(self.config, source), own_folder=True)
        stream = self._executor.open([spec])[0]
        with self._change:
            self._streams.append(stream)
            if self._running:
                self._start(stream)
        return stream

    def remove(self, stream_id: str) -> None:
        """End a stream and finish its outputs; returns when that is done.

        Raises:
            ValueError: there is no such stream.
        """
        stream = self._find(stream_id)
        stream.stop()
        with self._change:
            thread = next((each for each in self._threads if each.name == _thread_name(stream)), None)
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        stream.close()
        with self._change:
            self._streams.remove(stream)

    def set_phrases(self, phrases: Iterable[str], stream_id: str | None = None) -> None:
        """Ask other phrases from the next frame on, of one stream or of all; tracks keep their ids.

        Args:
            phrases: what to look for; a single one may be a plain string.
            stream_id: the stream; all of them by default.

        Raises:
            ConfigError: a phrase is no string.
            ValueError: there is no phrase, one is empty or too long, or no such stream runs.
        """
        self.set_prompt(Prompt.of(phrases_given(phrases)), stream_id)

    def set_prompt(self, prompt: Prompt, stream_id: str | None = None) -> None:
        """Ask `prompt` from the next frame on; see `set_phrases`."""
        streams = self.streams if stream_id is None else [self._find(stream_id)]
        unknown = self._executor.prepare(prompt)
        for stream in streams:
            warn_unknown(stream.id, unknown)
            stream.set_prompt(prompt)
            log.info("stream %s: asked from now on: %s", stream.id, ", ".join(prompt.phrases))

    def health(self) -> PipelineHealth:
        """Return where every stream and every detector stands, with their counters."""
        return PipelineHealth(
            tuple(stream.view.health for stream in self.streams), self._executor.detectors()
        )

    def stop(self) -> None:
        """End every stream soon; frames that are with the detector are still answered. Safe from anywhere."""
        for stream in self.streams:
            stream.stop()

    def close(self) -> None:
        """Stop, finish every output, free the model; may be called twice."""
        self._closed = True
        self.stop()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(CLOSE_S)
        for stream in self.streams:
            stream.close()
        self._executor.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _specs(self, streams: Sequence[StreamConfig]) -> list[StreamSpec]:
        return [
            StreamSpec(stream_id, _alone(self.config, stream), own_folder=self._several)
            for stream_id, stream in zip(distinct_ids(streams), streams, strict=True)
        ]

    def _free_id(self, config: StreamConfig) -> str:
        """Return an id for a further stream."""
        taken = [StreamConfig(source=stream.config.source, id=stream.id) for stream in self.streams]
        return distinct_ids([*taken, config])[-1]

    def _find(self, stream_id: str) -> Stream:
        found = [stream for stream in self.streams if stream.id == stream_id]
        if not found:
            known = ", ".join(stream.id for stream in self.streams)
            raise ValueError(f"no stream is called {stream_id!r}; there are: {known}")
        return found[0]

    def _start(self, stream: Stream) -> None:
        thread = threading.Thread(target=stream.run, args=(self._on_result,), name=_thread_name(stream))
        self._threads.append(thread)
        thread.start()

    def _next_thread(self) -> threading.Thread | None:
        """Return a stream's thread that still lives; after the last one no stream can be added."""
        with self._change:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._running = bool(self._threads)
            return self._threads[0] if self._threads else None

    def _run_into(self, results: queue.Queue[FrameResult | Exception | None]) -> None:
        try:
            self.run(results.put)
        except Exception as error:
            results.put(error)
        results.put(None)


def make_executor(config: RunConfig, specs: Sequence[StreamSpec] = ()) -> Executor:
    """Return what `config.executor` names, to open `specs`; `auto` is Ray for several or an address."""
    if executor_of(config) == "local":
        from groundstream.pipeline.executors.local import LocalExecutor

        return LocalExecutor(config)
    from groundstream.pipeline.executors.ray import RayExecutor

    return RayExecutor(config, specs)


def executor_of(config: RunConfig) -> str:
    """Return `local` or `ray`; `RAY_ADDRESS` in the environment counts as an address, as Ray has it."""
    if config.executor != "auto":
        return config.executor
    address = config.ray.address or os.environ.get("RAY_ADDRESS")
    return "ray" if address or len(config.streams) > 1 else "local"


def _alone(config: RunConfig, stream: StreamConfig) -> RunConfig:
    """Return `config` with `stream` alone, so that no stream's process learns of the others' sources."""
    return config.model_copy(update={"streams": (stream,)})


def _thread_name(stream: Stream) -> str:
    return f"stream-{stream.id}"


def _drain(results: queue.Queue[Any], runner: threading.Thread) -> None:
    """Take what is left, so that no stream waits for a reader that has gone."""
    while runner.is_alive():
        try:
            results.get(timeout=0.05)
        except queue.Empty:
            continue
