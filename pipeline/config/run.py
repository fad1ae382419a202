"""What a run is made of: checked once, here; the rest of the program gets values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from groundstream.models.text.noun_phrases import noun_phrases
from groundstream.models.types import Prompt
from groundstream.operators.urls import stream_id_for
from groundstream.pipeline.config.base import Score, Seconds, Strict
from groundstream.pipeline.config.events import ClipsConfig, KeepConfig, RecordConfig, RulesConfig
from groundstream.pipeline.config.file import checked, read_file

DEFAULT_MODEL = "glip-nano"
DEFAULT_ADAPTER = "none"
RECORDS_NAME = "detections.jsonl"
VIDEO_NAME = "annotated.mp4"
EVENTS_NAME = "events.jsonl"

StreamId = Annotated[str, Field(pattern=r"^[^\s:/\\]+$")]


class ModelConfig(Strict):
    """Which model answers, on what, and with which temporal adapter (cta, ema, none or a file)."""

    name: str = DEFAULT_MODEL
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    size_px: Annotated[int, Field(ge=32)] | None = None
    max_batch: Annotated[int, Field(ge=1, le=256)] | None = None
    adapter: str = DEFAULT_ADAPTER
    adapter_memory_mb: Annotated[int, Field(ge=1)] = 1024


class StreamConfig(Strict):
    """One source, and what is asked of it."""

    source: str
    id: StreamId | None = None
    phrases: tuple[str, ...] = ()
    semantics: Literal["auto", "file", "live"] = "auto"
    fps: Annotated[float, Field(gt=0)] | None = None
    start_s: Seconds | None = None
    end_s: Seconds | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    hwaccel: str | None = None
    patience_s: Annotated[float, Field(gt=0)] | None = None
    rules: RulesConfig | None = None

    @field_validator("source")
    @classmethod
    def _not_empty(cls, source: str) -> str:
        if not source.strip():
            raise ValueError("source is empty; give a file, a folder of images, a URL or a webcam number")
        return source

    @property
    def stream_id(self) -> str:
        """The name that was given, else one made from the source."""
        return self.id or stream_id_for(self.source)


class TrackConfig(Strict):
    """How boxes become tracks, and when a track answers to a phrase. Times in seconds, scores 0..1."""

    tracker: Literal["bytetrack", "ocsort", "botsort"] = "bytetrack"
    score: Score | None = None
    lost_s: Seconds = 1.0
    smooth_s: Seconds = 0.5
    life_s: Seconds = 1.0


class OutputConfig(Strict):
    """Where results go."""

    dir: Path | None = None
    records: bool = True
    video: bool = True
    overwrite: bool = False
    sinks: tuple[str, ...] = ()


class RayConfig(Strict):
    """How the work is spread over a Ray cluster.

    Without an address a cluster of this machine alone is started, and ended with the run. Detectors are as
    many as fit on the GPUs; where there is none, one on every machine. The processors of a detector that
    runs without a GPU, and of a stream, are what Ray reserves, not what they may use.
    """

    address: str | None = None
    detectors: Annotated[int, Field(ge=1)] | None = None
    gpus_per_detector: Annotated[float, Field(gt=0)] = 1.0
    cpus_per_stream: Annotated[float, Field(gt=0)] = 0.1
    dashboard: bool = False


class MetricsConfig(Strict):
    """Where Prometheus finds the run's metrics; without a port there are none."""

    port: Annotated[int, Field(ge=0, le=65535)] | None = None
    bind: str = "127.0.0.1"


class RunConfig(Strict):
    """A whole run: streams, phrases, model, tracking, outputs, and where it runs."""

    streams: Annotated[tuple[StreamConfig, ...], Field(min_length=1)]
    phrases: tuple[str, ...] = ()
    sentence: str | None = None
    model: ModelConfig = ModelConfig()
    track: TrackConfig = TrackConfig()
    rules: RulesConfig | None = None
    clips: ClipsConfig = ClipsConfig()
    record: RecordConfig = RecordConfig()
    keep: KeepConfig = KeepConfig()
    output: OutputConfig = OutputConfig()
    text_cache: str | None = None
    control: Path | None = None
    executor: Literal["auto", "local", "ray"] = "auto"
    ray: RayConfig = RayConfig()
    metrics: MetricsConfig = MetricsConfig()

    @field_validator("streams", mode="before")
    @classmethod
    def _plain_sources(cls, streams: object) -> object:
        """Let a stream be written as its source alone."""
        if not isinstance(streams, Sequence) or isinstance(streams, str):
            return streams
        return [{"source": stream} if isinstance(stream, str) else stream for stream in streams]

    @model_validator(mode="after")
    def _phrases_and_ids(self) -> RunConfig:
        for stream in self.streams:
            self.prompt_for(stream)
        distinct_ids(self.streams)
        if self.keeps_video and self.output.dir is None and self.output.sinks:
            raise ValueError("clips and recordings need a folder; name one as output.dir (--out)")
        if self.executor == "local" and self.ray.address:
            raise ValueError("executor 'local' runs in one process; leave it or ray.address out")
        return self

    def rules_for(self, stream: StreamConfig) -> RulesConfig | None:
        """Return the stream's own rules, else those of the run."""
        return stream.rules or self.rules

    @property
    def keeps_video(self) -> bool:
        """Whether clips or recordings are made, for which the source's own video is needed."""
        return self.clips.mode != "none" or self.record.on

    def tells(self, stream: StreamConfig) -> bool:
        """Tell whether there is anything to be told of the stream but its frames."""
        return self.rules_for(stream) is not None or self.keeps_video

    def prompt_for(self, stream: StreamConfig) -> Prompt:
        """Return the stream's own phrases, else those of the run, else the noun phrases of its sentence.

        Raises:
            ValueError: there are none, or one is empty.
        """
        if stream.phrases or self.phrases or self.sentence is None:
            return Prompt.of(stream.phrases or self.phrases)
        found = noun_phrases(self.sentence)
        if not found:
            raise ValueError(f"no thing is named in {self.sentence!r}; say it as phrases")
        return Prompt.of(found, self.sentence)


def distinct_ids(streams: Sequence[StreamConfig]) -> list[str]:
    """Return the streams' ids; those that sources alone would give twice are numbered.

    Raises:
        ValueError: two streams were given the same id.
    """
    given = [stream.id for stream in streams if stream.id]
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise ValueError(f"the stream id {twice[0]!r} is given twice; each stream needs its own")
    taken = set(given)
    ids = []
    for stream in streams:
        name, number = stream.stream_id, 2
        while stream.id is None and name in taken:
            name, number = f"{stream.stream_id}-{number}", number + 1
        taken.add(name)
        ids.append(name)
    return ids


def make_config(values: Mapping[str, Any]) -> RunConfig:
    """Check plain values (from flags or YAML).

    Raises:
        ConfigError: what is wrong, where, and the nearest right key.
    """
    return checked(RunConfig, values, where=lambda location: "")


def load_config(path: Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a YAML file; `overrides` (flags that were given) win over it, key by key.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or holds a wrong key or value; says the line.
    """
    return read_file(RunConfig, path, overrides)


def load_rules(path: Path) -> RulesConfig:
    """Read a YAML file of zones, lines and counts; raises like `load_config`."""
    return read_file(RulesConfig, path)
