"""Outputs by URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

from groundstream.operators.errors import ConfigError
from groundstream.operators.sinks.base import Sink

_FILES = ("jsonl", "csv", "mot", "coco")
_EXPECTED = (
    "expected jsonl:FILE (jsonl:- is standard output), csv:FILE, mot:FILE, coco:FILE, redis://HOST/DB, "
    "mqtt://HOST/TOPIC or webhook+https://HOST/PATH"
)


def open_sink(url: str, stream_id: str, keep_bytes: int = 0) -> Sink:
    """Open the output that `url` names.

    Args:
        url: `jsonl:FILE`, `csv:FILE`, `mot:FILE` (a FILE of `-` is standard output), `coco:FILE`,
            `redis://USER:PASSWORD@HOST:PORT/DB?stream=KEY&maxlen=N` (`rediss://` for TLS; further options
            are redis-py's; KEY is `groundstream:{stream}` unless given),
            `mqtt://USER:PASSWORD@HOST:PORT/TOPIC?format=frigate&qos=1&detections=1` (`mqtts://` for TLS), or
            `webhook+https://USER:PASSWORD@HOST:PORT/PATH?QUERY#detections=1&spool=FILE`.
        stream_id: takes the place of `{stream}` in FILE, KEY and TOPIC.
        keep_bytes: so much of an old FILE is kept, and continued; else it is replaced.

    Raises:
        ConfigError: `url` is none of these.
        OutputError: the output cannot be opened.
    """
    kind, colon, rest = url.partition(":")
    if kind in ("redis", "rediss"):
        from groundstream.operators.sinks.redis import RedisStreamSink, redis_address

        return RedisStreamSink(redis_address(url, stream_id))
    if kind in ("mqtt", "mqtts"):
        from groundstream.operators.sinks.mqtt import MqttSink, mqtt_address

        return MqttSink(mqtt_address(url, stream_id), stream_id)
    if kind in ("webhook+http", "webhook+https"):
        from groundstream.operators.sinks.webhook import WebhookSink, webhook_address

        return WebhookSink(webhook_address(url, stream_id))
    if not colon or kind not in _FILES:
        raise ConfigError(f"an output cannot be of the kind {kind!r}; {_EXPECTED}")
    if not rest:
        raise ConfigError(f"the output {url!r} has no file name; {_EXPECTED}")
    return _open_file(kind, file_of(url, stream_id), keep_bytes)


def writes_file(url: str) -> bool:
    """Tell whether an output's URL names a file, which must not be overwritten unasked."""
    return url.partition(":")[0] in _FILES


def is_standard_output(url: str) -> bool:
    """Tell whether an output's URL names standard output, which only the program's own process has."""
    return writes_file(url) and url.partition(":")[2] == "-"


def takes_events_only(url: str) -> bool:
    """Tell whether an output's URL names a server that gets events alone, not the records of frames."""
    kind = url.partition(":")[0]
    marks = {"mqtt": "?", "mqtts": "?", "webhook+http": "#", "webhook+https": "#"}
    return kind in marks and ("detections", "1") not in parse_qsl(url.partition(marks[kind])[2])


def file_of(url: str, stream_id: str) -> Path:
    """Return the FILE of an output's URL; `stream_id` takes the place of `{stream}`."""
    return Path(url.partition(":")[2].replace("{stream}", stream_id)).expanduser()


def _open_file(kind: str, path: Path, keep_bytes: int) -> Sink:
    if kind == "coco":
        from groundstream.operators.sinks.coco import CocoSink

        return CocoSink(path, keep_bytes)
    from groundstream.operators.sinks.record_files import CsvSink, JsonlSink, MotSink, RecordFileSink

    kinds: dict[str, type[RecordFileSink]] = {"jsonl": JsonlSink, "csv": CsvSink, "mot": MotSink}
    return kinds[kind](path, keep_bytes)
