"""Streams in this process: one thread each, one detector for all."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from groundstream.models.types import Prompt
from groundstream.operators.detector.batcher import Batcher
from groundstream.operators.errors import ConfigError, GroundstreamError
from groundstream.operators.text import open_text_store
from groundstream.operators.text.cache import TextCache
from groundstream.pipeline.config.run import RunConfig
from groundstream.pipeline.detectors.build import build_detector
from groundstream.pipeline.observe.health import DetectorHealth, detector_health
from groundstream.pipeline.streams.base import OnResult, Stream, StreamSpec, StreamView, warn_unknown
from groundstream.pipeline.streams.runner import StreamRunner

log = logging.getLogger("groundstream.pipeline")


class LocalStream(Stream):
    """A stream that runs in the thread that calls `run`."""

    def __init__(self, spec: StreamSpec) -> None:
        super().__init__(spec)
        self.runner = StreamRunner(spec, self.note_error)

    @property
    def view(self) -> StreamView:
        """The stream now."""
        return self.runner.view

    def run(self, on_result: OnResult | None) -> None:
        """Answer every frame to the end or until `stop`; what could not be opened has ended already."""
        if self.runner.worker is not None:
            self.runner.run(on_result)

    def set_prompt(self, prompt: Prompt) -> None:
        """Ask `prompt` from the next result on."""
        if self.runner.worker is not None:
            self.runner.set_prompt(prompt)

    def stop(self) -> None:
        """End soon."""
        self.runner.stop()

    def close(self) -> None:
        """End now and finish the outputs."""
        self.runner.close()


class LocalExecutor:
    """Runs streams in this process; the model is loaded when the first of them is open."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._cache: TextCache | None = None
        self._detector: Batcher | None = None

    def open(self, specs: Sequence[StreamSpec]) -> list[Stream]:
        """Open streams; see `Executor`."""
        streams = [LocalStream(spec) for spec in specs]
        try:
            opened = [stream for stream in streams if _try_to_open(stream)]
            if not opened:
                raise next(stream.error for stream in streams if stream.error is not None)
            for stream in opened:
                stream.runner.check_outputs()  # before the model loads
            self._attach(opened)
        except BaseException:
            for stream in streams:
                stream.close()
            raise
        return list(streams)

    def prepare(self, prompt: Prompt) -> tuple[str, ...]:
        """Encode `prompt`; see `Executor`."""
        return self._load().prepare(prompt)

    def detectors(self) -> tuple[DetectorHealth, ...]:
        """Say how the detector does."""
        if self._detector is None:
            return ()
        return (detector_health("detector-1", self._detector.device, self._detector.counters),)

    def close(self) -> None:
        """Free the model; may be called twice."""
        if self._detector is not None:
            self._detector.close()
        if self._cache is not None:
            log.info("text cache: %s", self._cache.counters)
            self._cache.close()
            self._cache = None

    def _load(self) -> Batcher:
        if self._detector is None:
            self._cache = TextCache(open_text_store(self._config.text_cache or None))
            self._detector = build_detector(self._config.model, self._cache)
        return self._detector

    def _attach(self, streams: Sequence[LocalStream]) -> None:
        detector = self._load()
        for stream in streams:
            try:
                warn_unknown(stream.id, detector.prepare(stream.spec.prompt))
            except ValueError as error:
                raise ConfigError(str(error)) from error
            stream.runner.attach(detector)


def _try_to_open(stream: LocalStream) -> bool:
    """Open the source of `stream`; keep what fails on it."""
    try:
        stream.runner.open()
    except GroundstreamError as error:
        stream.note_error(error)
    return stream.error is None
