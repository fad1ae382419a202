"""The pipeline in this process: one thread per stream, one detector for all."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from groundstream.models.types import Prompt
from groundstream.operators.batcher import Batcher, BatcherCounters
from groundstream.operators.errors import ConfigError, GroundstreamError
from groundstream.operators.frames import FrameResult
from groundstream.operators.sinks import SinkWorker
from groundstream.operators.source import Source, SourceStatus
from groundstream.operators.text_cache import TextCache
from groundstream.pipeline.build import (
    build_detector,
    build_sinks,
    build_source,
    build_text_cache,
    build_worker,
    check_outputs,
)
from groundstream.pipeline.config import RunConfig, StreamConfig, distinct_ids
from groundstream.pipeline.stream import StreamWorker

log = logging.getLogger("groundstream.pipeline")

RESULTS_WAITING = 8  # results that a reader of the pipeline may lag behind; each holds its frame


@dataclass(eq=False)
class Stream:
    """One stream of a running pipeline, as its owner sees it.

    Attributes:
        id: the stream's name in every output.
        config: what was asked for.
        source: where frames come from; None when it could not be opened.
        status: the source's last word.
        results: frames answered so far.
        objects: objects seen in the last result.
        time_s: media time of the last result.
        error: why the stream ended before its end.
    """

    id: str
    config: StreamConfig
    source: Source | None = None
    worker: StreamWorker | None = None
    sinks: list[SinkWorker] = field(default_factory=list)
    status: SourceStatus | None = None
    results: int = 0
    objects: int = 0
    time_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)
    error: Exception | None = None

    def note(self, result: FrameResult) -> None:
        """Count a result."""
        self.results += 1
        self.objects = int(np.count_nonzero(np.asarray(result.detections.data["state"]) != "lost"))
        self.time_s = result.frame.time_s


class Pipeline:
    """Streams in, tracked phrases out, all in this process.

    A stream that fails hinders no other; its error is kept on the stream and, once all have ended, raised
    by `run`.

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
        """
        self.config = config
        self.streams = [
            Stream(stream_id, stream)
            for stream_id, stream in zip(distinct_ids(config.streams), config.streams, strict=True)
        ]
        self._cache: TextCache | None = None
        self._detector: Batcher | None = None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def run(self, on_result: Callable[[FrameResult], None] | None = None) -> None:
        """Run every stream to its end, or until `stop`; `on_result` is called in the stream's thread.

        Raises:
            GroundstreamError: the first error of a stream or an output, after all streams have ended.
        """
        threads = [
            threading.Thread(target=self._run_stream, args=(stream, on_result), name=f"stream-{stream.id}")
            for stream in self.streams
            if stream.worker is not None
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.close()
        errors = [stream.error for stream in self.streams if stream.error is not None]
        if errors:
            raise errors[0]

    def __iter__(self) -> Iterator[FrameResult]:
        """Yield the results of all streams as they come; leaving the loop stops the pipeline."""
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

    def set_phrases(self, phrases: Iterable[str], stream_id: str | None = None) -> None:
        """Ask other phrases from the next frame on, of one stream or of all; tracks keep their ids.

        Raises:
            ValueError: there is no phrase, one is empty or too long, or no such stream runs.
        """
        self.set_prompt(Prompt.of(phrases), stream_id)

    def set_prompt(self, prompt: Prompt, stream_id: str | None = None) -> None:
        """Ask `prompt` from the next frame on; see `set_phrases`."""
        streams = [stream for stream in self.streams if stream_id in (None, stream.id)]
        if not streams:
            known = ", ".join(stream.id for stream in self.streams)
            raise ValueError(f"no stream is called {stream_id!r}; there are: {known}")
        for stream in streams:
            if stream.worker is not None:
                _warn_unknown(stream.id, stream.worker.set_prompt(prompt))
                log.info("stream %s: asked from now on: %s", stream.id, ", ".join(prompt.phrases))

    @property
    def detector_counters(self) -> BatcherCounters | None:
        """What the detector did so far; None before it is loaded."""
        return self._detector.counters if self._detector else None

    def stop(self) -> None:
        """End every stream soon; frames that are with the detector are still answered. Safe from anywhere."""
        for stream in self.streams:
            if stream.source is not None:
                stream.source.close()

    def close(self) -> None:
        """Stop, finish every output, free the model; may be called twice."""
        self.stop()
        for stream in self.streams:
            self._finish(stream)
        if self._detector is not None:
            self._detector.close()
        if self._cache is not None:
            log.info("text cache: %s", self._cache.counters)
            self._cache.close()
            self._cache = None

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        for stream in self.streams:
            self._open_source(stream)
        opened = [stream for stream in self.streams if stream.source is not None]
        if not opened:
            raise next(stream.error for stream in self.streams if stream.error is not None)
        several = len(self.streams) > 1
        for stream in opened:
            check_outputs(self.config.output, stream.id, several)  # before the model loads
        self._cache = build_text_cache(self.config.text_cache)
        self._detector = build_detector(self.config.model, self._cache)
        for stream in opened:
            self._open_sinks(stream, several)
            self._open_worker(stream, self._detector)

    def _open_source(self, stream: Stream) -> None:
        def on_status(status: SourceStatus) -> None:
            stream.status = status

        try:
            stream.source = build_source(stream.config, stream.id, on_status)
        except GroundstreamError as error:
            self._note_error(stream, error)

    def _note_error(self, stream: Stream, error: Exception) -> None:
        """Keep a stream's first error; say it now where other streams go on (else `run` raises it)."""
        stream.error = stream.error or error
        if len(self.streams) > 1:
            log.error("stream %s: %s", stream.id, error)

    def _open_sinks(self, stream: Stream, several: bool) -> None:
        def on_error(sink: str, error: Exception) -> None:
            self._note_error(stream, error)
            if all(worker.failed for worker in stream.sinks) and stream.source is not None:
                stream.source.close()

        assert stream.source is not None
        stream.sinks = build_sinks(
            self.config.output,
            stream.id,
            several=several,
            live=stream.source.semantics == "live",
            on_error=on_error,
        )

    def _open_worker(self, stream: Stream, detector: Batcher) -> None:
        assert stream.source is not None
        prompt = self.config.prompt_for(stream.config)
        try:
            _warn_unknown(stream.id, detector.prepare(prompt))
        except ValueError as error:
            raise ConfigError(str(error)) from error
        stream.worker = build_worker(self.config, stream.id, prompt, stream.source, detector, stream.sinks)

    def _run_stream(self, stream: Stream, on_result: Callable[[FrameResult], None] | None) -> None:
        assert stream.worker is not None
        try:
            for result in stream.worker:
                stream.note(result)
                if on_result is not None:
                    on_result(result)
        except GroundstreamError as error:
            self._note_error(stream, error)
        except Exception as error:
            stream.error = stream.error or error
            log.exception("stream %s: an error that should not happen", stream.id)
        finally:
            self._finish(stream)

    def _finish(self, stream: Stream) -> None:
        """Close the stream's source and outputs, whatever happened before."""
        if stream.source is not None:
            stream.source.close()
        for sink in stream.sinks:
            sink.close()

    def _run_into(self, results: queue.Queue[FrameResult | Exception | None]) -> None:
        try:
            self.run(results.put)
        except Exception as error:
            results.put(error)
        results.put(None)


def _drain(results: queue.Queue[FrameResult | Exception | None], runner: threading.Thread) -> None:
    """Take what is left, so that no stream waits for a reader that has gone."""
    while runner.is_alive():
        try:
            results.get(timeout=0.05)
        except queue.Empty:
            continue


def _warn_unknown(stream_id: str, unknown: Iterable[str]) -> None:
    if phrases := ", ".join(repr(phrase) for phrase in unknown):
        log.warning(
            "stream %s: the model's vocabulary has no part of %s; it will hardly be found", stream_id, phrases
        )
