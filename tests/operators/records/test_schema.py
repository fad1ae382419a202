from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv
from jsonschema import Draft202012Validator, FormatChecker
from result_factory import PROMPT, detections, result

from groundstream.models.types import Prompt
from groundstream.operators.frames import FrameResult
from groundstream.operators.records.detection import (
    MOST_PHRASES,
    SCHEMA_FILE,
    DetectionRecord,
    ModelRecord,
    ObjectRecord,
    PhraseScore,
    from_record,
    read_records,
    record,
)

VALIDATOR = Draft202012Validator(
    json.loads(SCHEMA_FILE.read_text(encoding="utf-8")), format_checker=FormatChecker()
)


@pytest.mark.parametrize(
    ("made", "schema"),
    [
        (DetectionRecord, VALIDATOR.schema),
        (ModelRecord, VALIDATOR.schema["properties"]["model"]),
        (ObjectRecord, VALIDATOR.schema["$defs"]["object"]),
        (PhraseScore, VALIDATOR.schema["$defs"]["object"]["properties"]["phrases"]["items"]),
    ],
)
def test_types_and_schema_have_the_same_fields(made: type, schema: dict[str, Any]) -> None:
    assert made.__required_keys__ == set(schema["properties"]) == set(schema["required"])  # type: ignore[attr-defined]
    assert made.__optional_keys__ == set()  # type: ignore[attr-defined]
    assert schema["additionalProperties"] is False


def as_json(made: object) -> Any:
    return json.loads(json.dumps(made, allow_nan=False))


def with_nan(column: str) -> Callable[[], FrameResult]:
    def make() -> FrameResult:
        found = detections(3)
        target = getattr(found, column) if hasattr(found, column) else found.data[column]
        target[1] = np.nan
        return result(detections=found)

    return make


def test_the_schema_is_itself_valid_and_lists_every_field() -> None:
    Draft202012Validator.check_schema(VALIDATOR.schema)
    made = record(result(3))
    assert set(VALIDATOR.schema["required"]) == set(VALIDATOR.schema["properties"]) == set(made)
    of_object = VALIDATOR.schema["$defs"]["object"]
    assert set(of_object["required"]) == set(of_object["properties"]) == set(made["objects"][0])


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: result(3), id="three"),
        pytest.param(lambda: result(0), id="none"),
        pytest.param(lambda: result(detections=sv.Detections.empty()), id="supervision's empty"),
        pytest.param(lambda: result(300), id="many"),
        pytest.param(lambda: result(3, stale=True), id="stale"),
        pytest.param(lambda: result(3, dropped={"newer_frame": 4}), id="dropped"),
        pytest.param(lambda: result(3, timing_ms={"detect": float("inf"), "wait": 1.0}), id="timing"),
        pytest.param(lambda: result(9, prompt=Prompt.of(["one"])), id="one phrase"),
        pytest.param(lambda: result(9, prompt=Prompt.of(f"p {n}" for n in range(300))), id="300 phrases"),
        pytest.param(lambda: result(3, stream="cam/door:2 狗"), id="odd stream id"),
        *(
            pytest.param(with_nan(column), id=column)
            for column in ("xyxy", "confidence", "phrase_scores", "age_s")
        ),
    ],
)
def test_every_record_is_valid_json_of_the_schema(make: Callable[[], FrameResult]) -> None:
    VALIDATOR.validate(as_json(record(make())))


@pytest.mark.parametrize(
    ("field", "value"),
    [("seq", -1), ("epoch", 0), ("wall_time", 17), ("objects", {}), ("stale", "no"), ("new_field", 1)],
)
def test_the_schema_refuses_what_is_no_record(field: str, value: object) -> None:
    assert not VALIDATOR.is_valid(as_json(record(result(1))) | {field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("track_id", "7"), ("box", [1, 2, 3]), ("score", 1.5), ("state", "gone"), ("new", 1)]
)
def test_the_schema_refuses_what_is_no_object(field: str, value: object) -> None:
    made = as_json(record(result(1)))
    made["objects"][0][field] = value
    assert not VALIDATOR.is_valid(made)


def test_a_record_says_what_the_result_holds() -> None:
    made = record(result(3, seq=10, dropped={"newer_frame": 2}))
    assert made["schema"] == "groundstream.detection/1"
    assert (made["stream_id"], made["epoch"], made["seq"], made["time_s"]) == ("cam", 1, 10, 0.333333)
    assert made["wall_time"] == "2023-11-14T22:13:20.583Z"
    assert (made["width"], made["height"]) == (640, 360)
    assert made["model"] == {"id": "fake", "revision": "0123456789ab", "adapter": "none"}
    assert (made["dropped_since_last"], made["timing_ms"]) == ({"newer_frame": 2}, {"detect": 12.35})
    assert [each["track_id"] for each in made["objects"]] == ["cam:1:1", "cam:1:2", None]
    assert [each["state"] for each in made["objects"]] == ["confirmed", "lost", "tentative"]
    assert [each["interpolated"] for each in made["objects"]] == [False, True, False]
    assert [each["age_s"] for each in made["objects"]] == [0.0, 0.5, 1.0]


def test_numbers_are_rounded_and_short_in_json() -> None:
    found = detections(1)
    found.xyxy[0] = (10.126, 20.0, 110.126, 119.999)
    found.confidence[0] = 0.123456
    (only,) = record(result(detections=found))["objects"]
    assert only["box"] == [10.13, 20.0, 110.13, 120.0]
    assert only["box_norm"] == [0.015822, 0.055556, 0.172072, 0.333331]
    assert only["score"] == 0.1235
    assert '"score": 0.1235,' in json.dumps(only)


def test_phrases_are_the_best_few_and_always_the_objects_own() -> None:
    prompt = Prompt.of(f"p{number}" for number in range(8))
    found = detections(1, prompt=prompt)
    found.data["phrase_scores"][0] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.0]
    found.data["phrase"][0], found.confidence[0] = "p0", 0.1
    (only,) = record(result(prompt=prompt, detections=found))["objects"]
    assert [entry["phrase"] for entry in only["phrases"]] == ["p6", "p5", "p4", "p3", "p0"]
    assert len(only["phrases"]) == MOST_PHRASES
    found.data["phrase_scores"][0] = [0.1, 0, 0, 0, 0, 0, 0, 0]
    (only,) = record(result(prompt=prompt, detections=found))["objects"]
    assert only["phrases"] == [{"phrase": "p0", "score": 0.1}]


def test_boxes_that_are_not_finite_are_left_out_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        broken = with_nan("xyxy")()
        broken = dataclasses.replace(broken, frame=dataclasses.replace(broken.frame, stream_id="nan-cam"))
        assert [each["track_id"] for each in record(broken)["objects"]] == ["cam:1:1", None]
    assert [row.levelno for row in caplog.records] == [logging.WARNING]


def test_a_time_that_is_not_finite_is_refused() -> None:
    broken = result(1)
    with pytest.raises(ValueError, match="finite time of frame 0 of cam, got nan"):
        record(dataclasses.replace(broken, frame=dataclasses.replace(broken.frame, time_s=float("nan"))))


@pytest.mark.parametrize("count", [0, 1, 7])
def test_records_come_back_as_detections(count: int) -> None:
    found = detections(count)
    back = from_record(record(result(detections=found)), PROMPT.phrases)
    np.testing.assert_allclose(back.xyxy, found.xyxy, atol=0.006)
    np.testing.assert_allclose(back.confidence, found.confidence, atol=6e-5)
    np.testing.assert_allclose(back.data["phrase_scores"], found.data["phrase_scores"], atol=6e-5)
    for field in ("class_id", "tracker_id"):
        assert getattr(back, field).tolist() == getattr(found, field).tolist()
    for field in ("phrase", "track_uid", "state", "interpolated", "age_s"):
        assert back.data[field].tolist() == found.data[field].tolist()


def test_zones_come_back_with_the_objects() -> None:
    for zones in ([("yard",), (), ("yard", "door")], []):
        back = from_record(record(result(len(zones)).with_zones(zones)))
        assert list(back.data["zones"]) == zones


def test_detections_and_records_round_trip_without_the_prompt() -> None:
    made = record(result(7))
    back = from_record(made)
    phrases = list(dict.fromkeys(entry["phrase"] for each in made["objects"] for entry in each["phrases"]))
    again = record(result(detections=back, prompt=Prompt.of(phrases)))
    for one, other in zip(made["objects"], again["objects"], strict=True):
        assert one | {"box_norm": 0} == other | {"box_norm": 0}
        np.testing.assert_allclose(one["box_norm"], other["box_norm"], atol=2e-5)  # of the rounded pixels now


def test_the_reader_takes_all_whole_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "detections.jsonl"
    lines = "".join(json.dumps(record(result(2, seq=seq))) + "\n" for seq in range(5))
    path.write_text(lines)
    assert [made["seq"] for made in read_records(path)] == [0, 1, 2, 3, 4]
    assert caplog.records == []
    path.write_text(lines[:-20])
    assert [made["seq"] for made in read_records(path)] == [0, 1, 2, 3]
    assert "line 5 is cut" in caplog.text


@pytest.mark.parametrize("line", ["not json", "[]", '{"schema": "groundstream.detection/2"}', "\x00\x00"])
def test_the_reader_refuses_other_lines_in_the_middle(line: str, tmp_path: Path) -> None:
    path = tmp_path / "detections.jsonl"
    path.write_text(json.dumps(record(result(1))) + "\n" + line + "\n" + json.dumps(record(result(1))) + "\n")
    with pytest.raises(ValueError, match=r"detections.jsonl, line 2: expected a record"):
        list(read_records(path))
