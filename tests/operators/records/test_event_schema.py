from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any, get_args

import pytest
from event_factory import count_event, event, sighting
from jsonschema import Draft202012Validator, FormatChecker
from moving_things import Thing, frame_result
from result_factory import results

from groundstream.operators.events.engine import RuleEngine
from groundstream.operators.events.event import Event, EventKind, EventType
from groundstream.operators.events.rules import RULE_KINDS, CountLine, CountRule, StreamRules, Zone
from groundstream.operators.records.detection import read_records
from groundstream.operators.records.event import (
    SCHEMA_FILE,
    EventRecord,
    SightingRecord,
    delivery_id,
    event_from_record,
    event_record,
    read_events,
)
from groundstream.operators.sinks.record_files import JsonlSink

VALIDATOR = Draft202012Validator(json.loads(SCHEMA_FILE.read_text()), format_checker=FormatChecker())
EVENTS = [
    event(),
    event("update", 15, clip="clip.mp4"),
    event("end", 30, truncated="the source failed"),
    count_event("end", 3),
]


def sent(made: object) -> Any:
    """Return what arrives: through JSON and back."""
    return json.loads(json.dumps(made, allow_nan=False))


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(VALIDATOR.schema)


@pytest.mark.parametrize(
    ("made", "schema"),
    [(EventRecord, VALIDATOR.schema), (SightingRecord, VALIDATOR.schema["$defs"]["sighting"])],
)
def test_types_and_schema_have_the_same_fields(made: type, schema: dict[str, Any]) -> None:
    assert made.__required_keys__ == set(schema["properties"]) == set(schema["required"])  # type: ignore[attr-defined]
    assert made.__optional_keys__ == set()  # type: ignore[attr-defined]
    assert schema["additionalProperties"] is False


def test_kinds_and_types_are_those_of_the_schema() -> None:
    properties = VALIDATOR.schema["properties"]
    assert tuple(properties["kind"]["enum"]) == get_args(EventKind)
    assert tuple(properties["type"]["enum"]) == get_args(EventType)


@pytest.mark.parametrize("made", EVENTS, ids=lambda each: f"{each.kind}-{each.type}")
def test_records_are_what_the_schema_says_and_come_back(made: Event) -> None:
    record = sent(event_record(made))
    VALIDATOR.validate(record)
    back = event_from_record(record)
    assert event_record(back) == record
    assert dataclasses.replace(back, before=None, after=made.after, best=None) == dataclasses.replace(
        made, before=None, best=None
    )


def test_numbers_are_rounded() -> None:
    after = event_record(event(after=sighting(1)))["after"]
    assert (after["score"], after["box"], after["time_s"]) == (0.8123, [10.13, 20.0, 110.0, 220.5], 0.033333)
    assert after["wall_time"] == "2023-11-14T22:13:20.283Z"


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "new"},  # that of an end has a state before
        {"end_s": None},
        {"kind": "explode"},
        {"schema": "groundstream.event/2"},
        {"colour": "red"},
        {"after": None},
    ],
)
def test_the_schema_refuses_what_no_event_is(broken: dict[str, object]) -> None:
    assert not VALIDATOR.is_valid(sent(event_record(EVENTS[2])) | broken)


def test_a_time_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="expected finite times of event"):
        event_record(event(start_s=float("nan")))


def test_whatever_rules_tell_is_a_record() -> None:
    rules = StreamRules(
        zones=(Zone("yard", ((0, 0), (0.5, 0), (0.5, 1), (0, 1)), dwell_s=0.5),),
        lines=(CountLine("road", (0.5, 0), (0.5, 1)),),
        counts=(CountRule("crowd", above=0, zone="yard"),),
        events=RULE_KINDS,
    )
    engine, kinds = RuleEngine("cam", rules), set()
    for at in range(40):
        for made in engine.update(frame_result(at / 10, [Thing(0.25 if at < 20 else 0.75, 0.5)])).events:
            VALIDATOR.validate(sent(event_record(made)))
            kinds.add((made.kind, made.type))
    for made in engine.update(frame_result(9.0)).events:
        VALIDATOR.validate(sent(event_record(made)))
        kinds.add((made.kind, made.type))
    assert {kind for kind, _ in kinds} == set(RULE_KINDS)


def test_each_message_has_a_delivery_id_of_its_own() -> None:
    assert len({delivery_id(each) for each in EVENTS[:3]}) == 3
    assert delivery_id(EVENTS[1]) == "1700000000.250000-0000abcd:update:15"


def test_a_file_of_frames_and_events_gives_both(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "all.jsonl"
    sink = JsonlSink(path)
    for result, made in zip(results([1, 2]), EVENTS, strict=False):
        sink.write(result)
        sink.write_event(made)
    sink.close()
    assert [each["seq"] for each in read_records(path)] == [0, 1]
    assert list(read_events(path)) == [event_record(made) for made in EVENTS[:2]]
    with path.open("a") as file:
        file.write('{"schema":"groundst')
    with caplog.at_level(logging.WARNING):
        assert len(list(read_events(path))) == 2
    assert "line 5 is cut" in caplog.text
    path.write_text("no record\n")
    with pytest.raises(ValueError, match="line 1: expected a record in JSON"):
        list(read_events(path))
