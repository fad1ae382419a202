"""One stream of a pipeline as its owner sees it, in whichever process it runs."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from groundstream.models.types import Prompt
from groundstream.operators.frames import FrameResult, Position
from groundstream.operators.sinks.resume import Resume
from groundstream.operators.urls import mask
from groundstream.pipeline.config.run import RunConfig, StreamConfig
from groundstream.pipeline.observe.health import DetectorHealth, StreamHealth

log = logging.getLogger("groundstream.pipeline")

OnResult = Callable[[FrameResult], None]


@dataclass(frozen=True)
class StreamSpec:
    """What one stream is made of; it travels to the process that runs it.

    Attributes:
        id: the stream's name in every output.
        config: the run, of which `config.streams` holds this stream alone.
        own_folder: whether its files lie in a folder of its own below the run's.
        resume: where it was when its process died; None for a stream that begins.
    """

    id: str
    config: RunConfig
    own_folder: bool
    resume: Resume | None = None

    @property
    def stream(self) -> StreamConfig:
        """What is asked of this stream."""
        return self.config.streams[0]

    @property
    def prompt(self) -> Prompt:
        """The phrases that it begins with."""
        return self.config.prompt_for(self.stream)


@dataclass(frozen=True)
class StreamView:
    """A stream at one moment.

    Attributes:
        health: where it stands, and its counters.
        live: whether the newest frame wins; else every frame is answered.
        duration_s: length of the whole source; None where it has no end or is not known yet.
        results: frames answered since the stream began, over all its processes.
        dropped: frames and results lost since then, by reason; as `health.dropped`, over all its processes.
        last: the last frame answered; None before the first.
    """

    health: StreamHealth
    live: bool = False
    duration_s: float | None = None
    results: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    last: Position | None = None


class Stream(ABC):
    """One stream of a pipeline; its methods may be called from any thread.

    Attributes:
        id: the stream's name in every output.
        config: what was asked for.
        error: why it ended before its end.
    """

    def __init__(self, spec: StreamSpec) -> None:
        self.spec, self.id, self.config = spec, spec.id, spec.stream
        self.error: Exception | None = None
        self.started_s = time.monotonic()

    def __repr__(self) -> str:
        return f"<stream {self.id}: {mask(self.config.source)}>"

    def note_error(self, error: Exception) -> None:
        """Keep the first error; say it now where other streams go on (else the pipeline raises it)."""
        first, self.error = self.error is None, self.error or error
        if first and self.spec.own_folder:
            log.error("stream %s: %s", self.id, error)

    @property
    @abstractmethod
    def view(self) -> StreamView:
        """The stream now."""

    @abstractmethod
    def run(self, on_result: OnResult | None) -> None:
        """Answer every frame to the end or until `stop`, finish the outputs; keeps what fails in `error`."""

    @abstractmethod
    def set_prompt(self, prompt: Prompt) -> None:
        """Ask `prompt` from the next result on; the detectors know it already."""

    @abstractmethod
    def stop(self) -> None:
        """End soon; frames that are with the detector are still answered."""

    @abstractmethod
    def close(self) -> None:
        """End now, whatever happened before, and finish the outputs; may be called twice."""


class Executor(Protocol):
    """Where streams and detectors run."""

    def open(self, specs: Sequence[StreamSpec]) -> list[Stream]:
        """Open streams; one that cannot be read hinders no other, its error is kept on it.

        Raises:
            SourceError: none of them can be read.
            OutputError: an output cannot be opened.
            ModelError: the model cannot be had.
            ConfigError: a phrase is too long for the model.
        """

    def prepare(self, prompt: Prompt) -> tuple[str, ...]:
        """Make `prompt` known to every detector; return the phrases that the model cannot know.

        Raises:
            ValueError: a phrase is too long for the model.
        """

    def detectors(self) -> tuple[DetectorHealth, ...]:
        """Say how every detector does."""

    def close(self) -> None:
        """End the detectors and give back what was opened; may be called twice."""


def warn_unknown(stream_id: str, unknown: Iterable[str]) -> None:
    """Say which phrases of a stream the model cannot know."""
    if phrases := ", ".join(repr(phrase) for phrase in unknown):
        log.warning(
            "stream %s: the model's vocabulary has no part of %s; it will hardly be found", stream_id, phrases
        )
