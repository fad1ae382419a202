"""What a run is made of: checked once, here; the rest of the program gets values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from groundstream.models.phrase_grammar import noun_phrases
from groundstream.models.types import Prompt
from groundstream.operators.errors import ConfigError
from groundstream.operators.urls import mask, stream_id_for

DEFAULT_MODEL = "glip-nano"
RECORDS_NAME = "detections.jsonl"
VIDEO_NAME = "annotated.mp4"

Score = Annotated[float, Field(gt=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
StreamId = Annotated[str, Field(pattern=r"^[^\s:/\\]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(_Strict):
    """Which model answers, and on what."""

    name: str = DEFAULT_MODEL
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    size_px: Annotated[int, Field(ge=32)] | None = None
    max_batch: Annotated[int, Field(ge=1, le=256)] | None = None


class StreamConfig(_Strict):
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


class TrackConfig(_Strict):
    """How boxes become tracks, and when a track answers to a phrase. Times in seconds, scores 0..1."""

    tracker: Literal["bytetrack", "ocsort", "botsort"] = "bytetrack"
    score: Score | None = None
    lost_s: Seconds = 1.0
    smooth_s: Seconds = 0.5
    life_s: Seconds = 1.0


class OutputConfig(_Strict):
    """Where results go."""

    dir: Path | None = None
    records: bool = True
    video: bool = True
    overwrite: bool = False
    sinks: tuple[str, ...] = ()


class RunConfig(_Strict):
    """A whole run: streams, phrases, model, tracking, outputs."""

    streams: Annotated[tuple[StreamConfig, ...], Field(min_length=1)]
    phrases: tuple[str, ...] = ()
    sentence: str | None = None
    model: ModelConfig = ModelConfig()
    track: TrackConfig = TrackConfig()
    output: OutputConfig = OutputConfig()
    text_cache: str | None = None
    control: Path | None = None

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
        return self

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
    return _checked(values, where=lambda location: "")


def load_config(path: Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a YAML file; `overrides` (flags that were given) win over it, key by key.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or holds a wrong key or value; says the line.
    """
    values, tree = _read_yaml(path)
    lines = dict(_lines(tree))

    def where(location: tuple[int | str, ...]) -> str:
        known = next((location[:n] for n in range(len(location), 0, -1) if location[:n] in lines), None)
        return f"{path}, line {lines[known]}: " if known else f"{path}: "

    return _checked(_merged(values, overrides or {}), where)


def _checked(values: Mapping[str, Any], where: Any) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        details = [detail for detail in error.errors() if not _follows(detail, error.errors())]
        raise ConfigError("; ".join(_sentence(detail, where) for detail in details[:3])) from None


def _follows(detail: Any, others: Sequence[Any]) -> bool:
    """Tell whether an error is only the consequence of one further inside."""
    at = detail["loc"]
    return any(len(other["loc"]) > len(at) and other["loc"][: len(at)] == at for other in others)


def _read_yaml(path: Path) -> tuple[dict[str, Any], yaml.Node | None]:
    try:
        text = path.read_text(encoding="utf-8")
    except IsADirectoryError:
        raise ConfigError(f"{path} is a directory; give a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {_reason(error)}") from None
    try:
        tree, values = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys such as 'streams:' and 'phrases:', but got {values!r:.60}")
    return values, tree


def _reason(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) and error.strerror else str(error)


def _merged(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in overrides.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged


def _lines(
    node: yaml.Node | None, at: tuple[int | str, ...] = ()
) -> Iterator[tuple[tuple[int | str, ...], int]]:
    """Yield the line of every key and item, by its path."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*at, key.value), key.start_mark.line + 1
            yield from _lines(value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield (*at, number), item.start_mark.line + 1
            yield from _lines(item, (*at, number))


def _sentence(detail: Any, where: Any) -> str:
    location = tuple(part for part in detail["loc"])
    dotted = ".".join(str(part) for part in location)
    name = dotted if where(location) else str(location[-1]) if location else ""
    if detail["type"] == "extra_forbidden":
        return f"{where(location)}unknown key '{location[-1]}'{_nearest(location)}"
    if detail["type"] == "missing":
        return f"{where(location)}{name} is missing"
    given = (
        "" if location == () or isinstance(detail["input"], dict) else f", but got {_shown(detail['input'])}"
    )
    message = re.sub(r"^(Value error|Assertion failed), ", "", detail["msg"])
    message = message[:1].lower() + message[1:]
    return f"{where(location)}{name}: {message}{given}" if location else f"{where(location)}{message}"


def _shown(value: object) -> str:
    return mask(f"{value!r:.80}")


def _nearest(location: Sequence[int | str]) -> str:
    keys = list(_known_keys(location[:-1]))
    close = difflib.get_close_matches(str(location[-1]), keys, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; known keys: {', '.join(keys)}"


def _known_keys(at: Sequence[int | str]) -> list[str]:
    parts: dict[str, type[BaseModel]] = {
        "model": ModelConfig,
        "track": TrackConfig,
        "output": OutputConfig,
        "streams": StreamConfig,
    }
    kind = parts.get(str(at[0]), RunConfig) if at else RunConfig
    return list(kind.model_fields)
