"""What a run is made of: checked once, here; the rest of the program gets values."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from groundstream.operators.errors import ConfigError
from groundstream.operators.events.rules import StreamRules
from groundstream.operators.sources import SourceOptions
from groundstream.operators.tracking.options import LIFE_S, LOST_S, SMOOTH_S, TrackerName
from groundstream.operators.urls import mask, shown, stream_id_for
from groundstream.pipeline.config.base import AboveZero, Score, Seconds, Strict
from groundstream.pipeline.config.events import ClipsConfig, KeepConfig, RecordingConfig, Rules
from groundstream.pipeline.config.file import NO_NAMES, Names, Written, checked, merged, read_file
from groundstream.pipeline.config.keys import FLAT, OLD_KEYS

if TYPE_CHECKING:
    from groundstream.models.types import Prompt

log = logging.getLogger("groundstream.config")

DEFAULT_MODEL = "glip-nano"
DEFAULT_ADAPTER = "none"
RECORDS_NAME = "detections.jsonl"
VIDEO_NAME = "annotated.mp4"
EVENTS_NAME = "events.jsonl"


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[^\s:/\\]+", name):
        raise ValueError("expected a name without spaces, colons and slashes, as for a folder")
    return name


def _several(value: Any) -> Any:
    """Return one address as a list of it."""
    return (value,) if isinstance(value, str) else value


def _with_rules_read(value: Any) -> Any:
    """Return a part's keys with the rules that another file holds (`rules: FILE`) in the file's place."""
    if isinstance(value, Mapping) and isinstance(file := value.get("rules"), str | Path):
        try:
            path = Path(file).expanduser()
        except RuntimeError:  # `~name` of somebody whom this machine does not know
            raise ConfigError(f"rules: no home folder is known for {file}") from None
        return {**value, "rules": read_rules(path)}
    return value


StreamId = Annotated[str, AfterValidator(_file_name)]
SOURCE_KEYS = frozenset(field.name for field in fields(SourceOptions))


class ModelConfig(Strict):
    """Which model answers, on what, and with which temporal adapter."""

    main_key: ClassVar = "name"

    name: str = DEFAULT_MODEL
    """Name or folder of a model; see `groundstream models`."""

    device: str = "auto"
    """Device that the model runs on: auto, cpu, cuda, cuda:1, mps."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Numeric precision: auto (bfloat16 where that is fast), float32, bfloat16 or float16."""

    size_px: Annotated[int, Field(ge=32)] | None = None
    """Short side of the model's input in pixels, for models that take several sizes; by default the
    model's own."""

    max_batch: Annotated[int, Field(ge=1, le=256)] | None = None
    """Largest batch of pictures; by default measured on GPUs, fixed per model on CPUs."""

    adapter: str = DEFAULT_ADAPTER
    """Temporal adapter, which steadies the model's features over time: cta (trained), ema (a running mean),
    none, or a FILE that `groundstream adapt` has made."""

    adapter_memory_mb: Annotated[int, Field(ge=1)] = 1024
    """Memory limit of the adapter for all streams together, in MB."""


class StreamConfig(Strict):
    """One source, and what is asked of it; `streams: [a.mp4]` is short for `streams: [{source: a.mp4}]`.

    The keys of `SourceOptions` stand beside the others (`{source: a.mp4, fps: 2}`).
    """

    main_key: ClassVar = "source"

    source: str
    """A file, a folder or glob of images, an rtsp:// or http(s):// URL, a webcam (webcam:0)."""

    id: StreamId | None = None
    """The stream's name; by default made from its source."""

    phrases: tuple[str, ...] = ()
    """What to look for in this stream; by default the phrases of the run."""

    rules: Rules | None = None
    """Zones, lines and counts of this stream, or a FILE of them; by default those of the run."""

    options: SourceOptions = Field(default=SourceOptions(), validation_alias=FLAT)
    """What is asked of the source; the room of the sources declares and checks it."""

    @classmethod
    def written_out(cls, value: Any) -> Any:
        """Return the keys of the stream, those of its source gathered into one value."""
        value = _with_rules_read(super().written_out(value))
        if not isinstance(value, Mapping):
            return value
        options = {key: value[key] for key in value if key in SOURCE_KEYS}
        others = {key: value[key] for key in value if key not in SOURCE_KEYS}
        return {**others, FLAT: options} if options else others

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
    """How boxes become tracks, and when a track answers to a phrase."""

    tracker: TrackerName = "bytetrack"
    """Tracking algorithm: bytetrack, ocsort or botsort."""

    score: Score | None = None
    """Report objects with at least this score, 0..1; by default the model's own."""

    lost_s: Seconds = LOST_S
    """Drop a track unseen for this many seconds."""

    smooth_s: Seconds = SMOOTH_S
    """Time constant in seconds over which a track's phrase scores are smoothed."""

    life_s: Seconds = LIFE_S
    """A track keeps its phrase for at least this many seconds before a better one replaces it."""


class OutputConfig(Strict):
    """Where results go."""

    dir: Path | None = None
    """Folder for detections.jsonl, annotated.mp4, events, clips and recordings; with several streams, one
    subfolder for each."""

    records: bool = True
    """Write records (detections.jsonl)."""

    video: bool = True
    """Write annotated video (annotated.mp4)."""

    overwrite: bool = False
    """Replace files of an earlier run."""

    sinks: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()
    """Send results to this output, too: jsonl:FILE (jsonl:- is standard output), csv:FILE, mot:FILE,
    coco:FILE, redis://HOST/DB?stream=KEY&maxlen=N, mqtt://HOST/TOPIC, webhook+https://HOST/PATH. {stream}
    stands for the stream's name."""


class RayConfig(Strict):
    """How the work is spread over a Ray cluster.

    Without an address a cluster of this machine alone is started, and ended with the run.
    """

    keyword: ClassVar = "ray_{key}"

    address: str | None = None
    """Join this Ray cluster (HOST:PORT, or auto for the one that this machine belongs to)."""

    detectors: Annotated[int, Field(ge=1)] | None = None
    """Number of detector processes; by default as many as fit on the GPUs; without GPUs, one per machine."""

    gpus_per_detector: AboveZero = 1.0
    """GPUs per detector; 0.5 puts two detectors on one GPU."""

    cpus_per_stream: AboveZero = 0.1
    """Processors that Ray reserves for each stream, not a cap; decides how many streams go to one machine."""

    dashboard: bool = False
    """Start Ray's dashboard with the cluster."""


class MetricsConfig(Strict):
    """Where Prometheus finds the run's metrics; without a port there are none."""

    keyword: ClassVar = "metrics_{key}"

    port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Serve Prometheus metrics on this port."""

    bind: str = "127.0.0.1"
    """Address to serve metrics on; there is no authentication."""


class RunConfig(Strict):
    """A whole run: streams, phrases, model, tracking, outputs, and where it runs."""

    streams: Annotated[tuple[StreamConfig, ...], Field(min_length=1)]
    """The sources, each with its own keys where it has any."""

    phrases: tuple[str, ...] = ()
    """What to look for, each in your own words."""

    sentence: str | None = None
    """Look for the things that this sentence names."""

    model: ModelConfig = ModelConfig()
    """The model, or its name alone."""

    track: TrackConfig = TrackConfig()
    """How boxes become tracks."""

    rules: Rules | None = None
    """File of zones, lines and counts, or in YAML these themselves; what happens there becomes events."""

    clips: ClipsConfig = ClipsConfig()
    """Clips, or when they are made alone."""

    recording: Annotated[RecordingConfig | None, BeforeValidator(RecordingConfig.written_out)] = None
    """Record the source's whole video too, in files."""

    keep: KeepConfig = KeepConfig()
    """How much video is kept."""

    output: OutputConfig = OutputConfig()
    """Where results go."""

    text_cache: str | None = None
    """Cache of text features: redis://..., a FILE, or none; by default a file in your cache folder."""

    control: Path | None = None
    """Watch this file of phrases (one per line); a change takes effect with the next frame."""

    executor: Literal["auto", "local", "ray"] = "auto"
    """`local`: in this process. `ray`: a process per stream. `auto`: Ray for several sources."""

    ray: RayConfig = RayConfig()
    """How the work is spread over a Ray cluster."""

    metrics: MetricsConfig = MetricsConfig()
    """Where Prometheus finds the run's metrics."""

    @classmethod
    def written_out(cls, value: Any) -> Any:
        """Return the keys by the names that they have today; says so where an old one was used."""
        old_names = [old for old, new in OLD_KEYS.items() if isinstance(value, Mapping) and old in value]
        for old in old_names:
            new = OLD_KEYS[old]
            if new in value:
                continue  # left where it is, and refused as unknown
            log.warning("the key %s is called %s now; the old name goes with the next release", old, new)
            value = {new if key == old else key: value[key] for key in value}
            value[new] = _without_on(value[new])
        return _with_rules_read(value)

    @model_validator(mode="after")
    def _hold_together(self) -> RunConfig:
        for stream in self.streams:
            self.prompt_for(stream)
        distinct_ids(self.streams)
        if self.stores_video and self.output.dir is None and self.output.sinks:
            raise ValueError("clips and recordings need a folder; name one as output.dir (--out)")
        if self.executor == "local" and self.ray.address:
            raise ValueError("executor 'local' runs in one process; leave it or ray.address out")
        return self

    def rules_for(self, stream: StreamConfig) -> StreamRules | None:
        """Return the stream's own rules, else those of the run."""
        return stream.rules or self.rules

    @property
    def stores_video(self) -> bool:
        """Whether clips or recordings are made, for which the source's own video is needed."""
        return self.clips.mode != "none" or self.recording is not None

    def has_events(self, stream: StreamConfig) -> bool:
        """Tell whether there are events of the stream: of its rules, or of its clips and recording."""
        return self.rules_for(stream) is not None or self.stores_video

    def prompt_for(self, stream: StreamConfig) -> Prompt:
        """Return the stream's own phrases, else those of the run, else the noun phrases of its sentence.

        Raises:
            ValueError: there are none, or one is empty.
        """
        from groundstream.models.text.noun_phrases import noun_phrases  # with numpy: not for `--help`
        from groundstream.models.types import Prompt

        if stream.phrases or self.phrases or self.sentence is None:
            return Prompt.of(stream.phrases or self.phrases)
        found = noun_phrases(self.sentence)
        if not found:
            raise ValueError(f"no thing is named in {self.sentence!r}; say it as phrases")
        return Prompt.of(found, self.sentence)


def _without_on(record: Any) -> Any:
    """Return what the old `record: {on: true, ...}` means; YAML reads a bare `on` as the key true."""
    if not isinstance(record, Mapping):
        return record
    switches = [record[key] for key in (True, "on") if key in record]
    others = {key: record[key] for key in record if key not in (True, "on")}
    return others if all(switches) else False


def source_given(source: object) -> str:
    """Return a source as it may be given in Python: text, a path, or the number of a webcam.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(source, bool) or not isinstance(source, str | PathLike | int):
        raise ConfigError(
            f"expected a source as a path, a URL or the number of a webcam, but got {shown(source)}"
        )
    return str(source)


def phrases_given(phrases: object) -> tuple[str, ...]:
    """Return phrases as they may be given in Python: several, or one as a plain string.

    Raises:
        ConfigError: they are no strings.
    """
    if isinstance(phrases, str):
        return (phrases,)
    if not isinstance(phrases, Iterable):
        raise ConfigError(
            f"expected phrases as strings, as ['person', 'white van'], but got {shown(phrases)}"
        )
    several = tuple(phrases)
    for number, phrase in enumerate(several, start=1):
        if not isinstance(phrase, str):
            raise ConfigError(f"phrase {number}: expected a string, as 'white van', but got {shown(phrase)}")
    return several


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


def idle_settings(config: RunConfig) -> Iterator[str]:
    """Yield a sentence for each setting that has no effect beside the others, though it is not wrong."""
    from groundstream.operators.sinks import takes_events_only  # heavy: not for `--help`

    keep = [
        f"keep.{name} (--keep-{name})" for name in ("gb", "days") if getattr(config.keep, name) is not None
    ]
    if keep and not config.stores_video:
        yield f"{' and '.join(keep)} without effect: neither clips nor a recording are made"
    if config.stores_video and config.output.dir is None:
        yield "no clips and no recording are made: they need a folder; name one, output.dir (out= in Python)"
    if not any(config.has_events(stream) for stream in config.streams):
        for url in filter(takes_events_only, config.output.sinks):
            yield (
                f"nothing is sent to {mask(url)}: it gets events only, and without rules there are none; "
                "give rules, or detections=1 in the URL"
            )


def make_config(values: Mapping[str, Any], names: Names = NO_NAMES) -> RunConfig:
    """Check plain values (from flags or Python); errors say the `names` of keys that have one.

    Raises:
        ConfigError: what is wrong, where, and the nearest right key.
    """
    return checked(RunConfig, values, names=names)


def load_config(path: Path, overrides: Mapping[str, Any] | None = None, names: Names = NO_NAMES) -> RunConfig:
    """Read a YAML file; `overrides` (flags that were given) win over it, key by key.

    Errors say the `names` of overrides that have one.

    Raises:
        ConfigError: the file cannot be read, or holds a wrong key or value; says the line.
    """
    written = read_file(path, RunConfig)
    values = merged(RunConfig, written.values, overrides or {})
    return checked(RunConfig, values, written.where, names)


def load_rules(path: Path) -> StreamRules:
    """Read a YAML file of zones, lines and counts; raises like `load_config`."""
    return _rules_of(read_file(path, StreamRules))


def read_rules(path: Path) -> Mapping[str, Any]:
    """Return what `load_rules` reads as it is written, to be laid over the rules of a configuration."""
    written = read_file(path, StreamRules)
    _rules_of(written)
    return written.values


class _RulesFile(Strict):
    rules: Rules


def _rules_of(written: Written) -> StreamRules:
    return checked(_RulesFile, {"rules": written.values}, lambda at: written.where(at[1:])).rules
