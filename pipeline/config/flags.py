"""The flags of `groundstream run` and the keywords of Python: each names a key, which says all the rest.

`FLAGS` is the one table of flags; type, default, check and help of a flag are those of its key.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any, Literal, get_args, get_origin

from groundstream.operators.errors import ConfigError
from groundstream.operators.urls import shown
from groundstream.pipeline.config.file import merged
from groundstream.pipeline.config.keys import (
    OLD_KEYS,
    REQUIRED,
    WORDS_ELSEWHERE,
    Key,
    Location,
    keys_of,
    plain_kind,
)
from groundstream.pipeline.config.run import RunConfig, StreamConfig, make_config

LOOK_FOR, MODEL, SOURCE = "What to look for", "Model", "Source"
TRACKING, OUTPUT, EVENTS, RUNNING = "Tracking", "Output", "Events, clips, recording", "Running"


@dataclass(frozen=True)
class Flag:
    """A flag of `groundstream run`.

    Attributes:
        names: as they are typed, with a space between them (`-m --model`, `--video/--no-video`).
        key: the key that it sets, with dots (`streams.fps`).
        panel: the part of the help that shows it.
        metavar: what stands for its value in the help; SECONDS or the choices where it is empty.
        old: names that are still understood, with a word in the log, and shown nowhere.
    """

    names: str
    key: str
    panel: str
    metavar: str = ""
    old: tuple[str, ...] = ()

    @property
    def path(self) -> tuple[str, ...]:
        """The key, part by part."""
        return tuple(self.key.split("."))

    @property
    def name(self) -> str:
        """Its longest name, the first of a pair: `--video`."""
        return self.names.split()[-1].split("/")[0]

    @property
    def shown_value(self) -> str | None:
        """What stands for its value in the help; None for a switch."""
        kind = plain_kind(key_at(self.path).kind)
        choices = "|".join(get_args(kind)) if get_origin(kind) is Literal else None
        return self.metavar or choices or ("SECONDS" if self.key.endswith("_s") else None)

    @property
    def help(self) -> str:
        """What its key means, with its default where that says something."""
        key = key_at(self.path)
        default = "" if key.default is False else shown_default(key)
        more = " Repeat for more." if get_origin(plain_kind(key.kind)) is tuple else ""
        return key.meaning + more + (f" (default: {default})" if default else "")


FLAGS = (
    Flag("-q --phrase", "phrases", LOOK_FOR, "PHRASE", old=("--query",)),
    Flag("--sentence", "sentence", LOOK_FOR, "TEXT"),
    Flag("--control", "control", LOOK_FOR, "FILE"),
    Flag("-m --model", "model.name", MODEL, "NAME|FOLDER"),
    Flag("--device", "model.device", MODEL, "DEVICE"),
    Flag("--dtype", "model.dtype", MODEL, "DTYPE"),
    Flag("--size", "model.size_px", MODEL, "PX"),
    Flag("--batch", "model.max_batch", MODEL, "N"),
    Flag("--adapter", "model.adapter", MODEL, "NAME|FILE"),
    Flag("--text-cache", "text_cache", MODEL, "URL"),
    Flag("--semantics", "streams.semantics", SOURCE),
    Flag("--fps", "streams.fps", SOURCE, "FPS"),
    Flag("--start", "streams.start_s", SOURCE),
    Flag("--end", "streams.end_s", SOURCE),
    Flag("--transport", "streams.transport", SOURCE),
    Flag("--hwaccel", "streams.hwaccel", SOURCE, "KIND"),
    Flag("--name", "streams.id", SOURCE, "ID"),
    Flag("--score", "track.score", TRACKING, "SCORE"),
    Flag("--tracker", "track.tracker", TRACKING, "NAME"),
    Flag("--lost", "track.lost_s", TRACKING),
    Flag("--out", "output.dir", OUTPUT, "DIR"),
    Flag("--records/--no-records", "output.records", OUTPUT),
    Flag("--video/--no-video", "output.video", OUTPUT),
    Flag("--overwrite", "output.overwrite", OUTPUT),
    Flag("--sink", "output.sinks", OUTPUT, "URL"),
    Flag("--rules", "rules", EVENTS, "FILE"),
    Flag("--clips", "clips.mode", EVENTS, "WHEN"),
    Flag("--pre", "clips.pre_s", EVENTS),
    Flag("--post", "clips.post_s", EVENTS),
    Flag("--recording", "recording", EVENTS, old=("--record",)),
    Flag("--segment", "recording.segment_s", EVENTS),
    Flag("--keep-gb", "keep.gb", EVENTS, "GB"),
    Flag("--keep-days", "keep.days", EVENTS, "DAYS"),
    Flag("--executor", "executor", RUNNING, "WHERE"),
    Flag("--ray-address", "ray.address", RUNNING, "ADDRESS"),
    Flag("--metrics-port", "metrics.port", RUNNING, "PORT"),
    Flag("--metrics-bind", "metrics.bind", RUNNING, "ADDRESS"),
)

#: Keys of a stream that go by no plain word in Python: the run's own have it.
_OF_A_STREAM_ALONE = ("phrases", "rules")


def key_at(path: Sequence[str]) -> Key:
    """Return the key that `path` leads to."""
    *parts, last = path
    return keys_of(reduce(_part_of, parts, RunConfig))[last]


def shown_default(key: Key) -> str:
    """Return a key's default as YAML has it; nothing where its meaning says what is done."""
    if key.default in (None, REQUIRED, ()) or key.part is not None:
        return ""
    if isinstance(key.default, bool):
        return str(key.default).lower()
    return f"{key.default:g}" if isinstance(key.default, float) else str(key.default)


def all_keys(part: type = RunConfig, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Key]]:
    """Yield every key with its path, those of rules left out, which are tables of their own."""
    for name, key in keys_of(part).items():
        yield (*before, name), key
        if key.part is not None and name != "rules":
            yield from all_keys(key.part, (*before, name))


@cache
def keywords() -> Mapping[str, tuple[str, ...]]:
    """Return what `groundstream.run` takes: each plain word with the path of its key.

    A part has its own name (`track={"score": .3}`), and so has its main value (`model="glip-nano"`).
    """
    words: dict[str, tuple[str, ...]] = {"out": ("output", "dir")}
    for path, _ in all_keys():
        *before, name = path
        part = reduce(_part_of, before, RunConfig)
        if path == ("output", "dir") or name == part.main_key:
            continue
        if before == ["streams"] and name in _OF_A_STREAM_ALONE:
            continue
        word = part.keyword.format(key=name)
        assert word not in words, f"{word} names {words[word]} and {path}"
        words[word] = path
    return words


def from_keywords(sources: Sequence[str], given: Mapping[str, Any]) -> RunConfig:
    """Return the configuration for sources and plain words.

    Words of a stream (`fps=2`) are for every source, and for streams that do not say it themselves.

    Raises:
        ConfigError: a word is unknown; names the nearest one. Or a value is not as it should be.
    """
    values: dict[str, Any] = {}
    stream: dict[str, Any] = {}
    names: dict[Location, str] = {}
    for word, value in given.items():
        path = keywords().get(word) or ((word,) if word in OLD_KEYS else None)
        if path is None:
            raise ConfigError(f"unknown keyword {word!r}{_nearest(word)}")
        if path[0] == "streams" and len(path) > 1:
            stream[path[1]] = value
        else:
            values = merged(RunConfig, values, nested(path, value))
            names[path] = word
            part = _part_of(RunConfig, word) if word in RunConfig.model_fields else None
            if not isinstance(value, Mapping) and (main := getattr(part, "main_key", None)):
                names[*path, main] = word  # `clips="events"`: the part goes by its main value
    streams: list[Any] = [{"source": source} for source in sources]
    if not isinstance(more := values.get("streams", ()), Iterable) or isinstance(more, str | bytes | Mapping):
        raise ConfigError(f"streams: expected a list, as ['a.mp4'], but got {shown(more)}")
    streams += [StreamConfig.written_out(each) for each in more]
    if not streams:
        raise ConfigError("no source given; name a file, a folder, a URL or a webcam")
    common = StreamConfig.written_out(stream)
    values["streams"] = [
        merged(None, common, each) if isinstance(each, Mapping) else each for each in streams
    ]
    return make_config(values, names)


def nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return `value` as mappings in mappings: (a, b) and 1 give {a: {b: 1}}."""
    return reduce(lambda inner, name: {name: inner}, reversed(path), value)


def _part_of(part: type, name: str) -> Any:
    return keys_of(part)[name].part


def _nearest(word: str) -> str:
    words = list(keywords())
    if (path := WORDS_ELSEWHERE.get(word)) is not None:
        return f"; did you mean {next(each for each in words if keywords()[each] == path)!r}?"
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known are: {', '.join(words)}"
