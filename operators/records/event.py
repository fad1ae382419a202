"""`groundstream.event/1`: one message about an event, as a record that is ready for JSON.

`event-1.json` beside this file is the JSON Schema. Rounding as in `detection.py`: pixels to 2 decimals,
scores to 4, parts of the picture and seconds of the media clock to 6, wall times to milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import TypedDict, cast

from groundstream.operators.events.event import Event, EventKind, EventType, Sighting
from groundstream.operators.frames import Box
from groundstream.operators.records.detection import whole_lines
from groundstream.operators.utils.times import from_rfc3339, rfc3339

SCHEMA = "groundstream.event/1"
SCHEMA_FILE = Path(__file__).with_name("event-1.json")


class SightingRecord(TypedDict):
    """A track at one moment of an event."""

    epoch: int
    seq: int
    time_s: float
    wall_time: str
    track_id: str | None
    phrase: str
    score: float
    box: list[float] | None
    box_norm: list[float] | None
    zones: list[str]
    values: dict[str, str | float | int]


class EventRecord(TypedDict):
    """One message about one event."""

    schema: str
    id: str
    stream_id: str
    kind: EventKind
    type: EventType
    rule: str
    before: SightingRecord | None
    after: SightingRecord
    start_s: float
    end_s: float | None
    best: SightingRecord | None
    clip: str | None
    truncated: str | None


def event_record(event: Event) -> EventRecord:
    """Return the record of `event`.

    Raises:
        ValueError: a time is not finite.
    """
    if not (isfinite(event.start_s) and (event.end_s is None or isfinite(event.end_s))):
        raise ValueError(f"expected finite times of event {event.id}, got {event.start_s} and {event.end_s}")
    return {
        "schema": SCHEMA,
        "id": event.id,
        "stream_id": event.stream_id,
        "kind": event.kind,
        "type": event.type,
        "rule": event.rule,
        "before": _sighting_record(event.before) if event.before else None,
        "after": _sighting_record(event.after),
        "start_s": round(event.start_s, 6),
        "end_s": None if event.end_s is None else round(event.end_s, 6),
        "best": _sighting_record(event.best) if event.best else None,
        "clip": event.clip,
        "truncated": event.truncated,
    }


def event_from_record(record: EventRecord) -> Event:
    """Return the event of which `event_record` made `record`, as far as its rounding allows."""
    return Event(
        id=record["id"],
        stream_id=record["stream_id"],
        kind=record["kind"],
        type=record["type"],
        rule=record["rule"],
        before=_sighting(record["before"]) if record["before"] else None,
        after=_sighting(record["after"]),
        start_s=record["start_s"],
        end_s=record["end_s"],
        best=_sighting(record["best"]) if record["best"] else None,
        clip=record["clip"],
        truncated=record["truncated"],
    )


def delivery_id(event: Event) -> str:
    """Return what consumers tell repetitions of one message by: `ID:type:seq`."""
    return f"{event.id}:{event.type}:{event.after.seq}"


def read_events(path: str | PathLike[str]) -> Iterator[EventRecord]:
    """Read the event records of a JSONL file one by one; records of detections are passed over.

    A last line without its end is what a killed run leaves: it is skipped with a warning.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is no record.
    """
    for number, line in whole_lines(Path(path)):
        try:
            content = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: expected a record in JSON, but got {error}") from error
        if isinstance(content, dict) and content.get("schema") == SCHEMA:
            yield cast("EventRecord", content)


def _sighting_record(seen: Sighting) -> SightingRecord:
    return {
        "epoch": seen.epoch,
        "seq": seen.seq,
        "time_s": round(seen.time_s, 6),
        "wall_time": rfc3339(seen.wall_time),
        "track_id": seen.track_id,
        "phrase": seen.phrase,
        "score": round(min(1.0, max(0.0, seen.score)), 4),
        "box": _rounded(seen.box, 2),
        "box_norm": _rounded(seen.box_norm, 6),
        "zones": list(seen.zones),
        "values": dict(seen.values),
    }


def _sighting(record: SightingRecord) -> Sighting:
    return Sighting(
        epoch=record["epoch"],
        seq=record["seq"],
        time_s=record["time_s"],
        wall_time=from_rfc3339(record["wall_time"]),
        track_id=record["track_id"],
        phrase=record["phrase"],
        score=record["score"],
        box=_box(record["box"]),
        box_norm=_box(record["box_norm"]),
        zones=tuple(record["zones"]),
        values=record["values"],
    )


def _rounded(box: Sequence[float] | None, decimals: int) -> list[float] | None:
    return None if box is None else [round(value, decimals) for value in box]


def _box(values: Sequence[float] | None) -> Box | None:
    return None if values is None else (values[0], values[1], values[2], values[3])
