"""Frigate's MQTT shape, there and back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from event_factory import count_event, event, sighting
from result_factory import PROMPT, result

from groundstream.operators.records.detection import from_record, record
from groundstream.operators.records.frigate import (
    event_from_frigate,
    event_to_frigate,
    from_frigate,
    to_frigate,
)

#: As Frigate's documentation shows it (topic frigate/events), shortened.
FRIGATES_OWN: dict[str, Any] = {
    "type": "update",
    "before": {
        "id": "1607123955.475377-mxklsc",
        "camera": "front_door",
        "frame_time": 1607123961.837752,
        "label": "person",
        "sub_label": None,
        "top_score": 0.958984375,
        "false_positive": False,
        "start_time": 1607123955.475377,
        "end_time": None,
        "score": 0.7890625,
        "box": [424, 500, 536, 712],
        "area": 23744,
        "current_zones": [],
        "entered_zones": ["yard"],
        "has_snapshot": False,
        "has_clip": False,
    },
    "after": {
        "id": "1607123955.475377-mxklsc",
        "camera": "front_door",
        "frame_time": 1607123962.082975,
        "label": "person",
        "sub_label": None,
        "top_score": 0.958984375,
        "false_positive": False,
        "start_time": 1607123955.475377,
        "end_time": None,
        "score": 0.87890625,
        "box": [432, 496, 544, 854],
        "area": 40096,
        "current_zones": ["yard"],
        "entered_zones": ["yard"],
        "has_snapshot": True,
        "has_clip": True,
    },
}


def test_frigate_payloads_come_back_as_detections() -> None:
    first, later = record(result(1, seq=0)), record(result(4, seq=90))
    payload = json.loads(json.dumps(to_frigate("update", first, later, "cam:1:1"), allow_nan=False))
    assert payload["type"] == "update"
    got, expected = from_frigate(payload), from_record(later, PROMPT.phrases)[:1]
    np.testing.assert_allclose(got.xyxy, expected.xyxy, atol=0.5)  # whole pixels there
    np.testing.assert_allclose(got.confidence, expected.confidence)
    for field in ("phrase", "track_uid"):
        assert got.data[field].tolist() == expected.data[field].tolist()


def test_frigate_payloads_say_when_and_how_well() -> None:
    first, later = record(result(4, seq=0)), record(result(7, seq=90))
    later["objects"][3]["zones"] = ["door"]
    new = to_frigate("new", first, first, "cam:1:4")["after"]
    assert (new["camera"], new["start_time"], new["frame_time"]) == ("cam", 1699999998.75, 1700000000.25)
    assert (new["end_time"], new["entered_zones"]) == (None, [])
    end = to_frigate("end", first, later, "cam:1:4")["after"]
    assert end["end_time"] == end["frame_time"] == 1700000003.25
    assert end["top_score"] == max(first["objects"][3]["score"], later["objects"][3]["score"])
    assert end["entered_zones"] == ["door"]
    with pytest.raises(ValueError, match="expected frame 0 to hold track cam:1:9"):
        to_frigate("new", first, first, "cam:1:9")


@pytest.mark.parametrize("made", [event(), event("update", 30), event("end", 60, truncated="stopped")])
def test_events_come_back_to_whole_pixels_and_milliseconds(made: Any) -> None:
    back = event_from_frigate(json.loads(json.dumps(event_to_frigate(made), allow_nan=False)))
    assert back.after.box == tuple(round(value) for value in made.after.box)
    assert back.after.wall_time == pytest.approx(made.after.wall_time, abs=5e-4)
    assert back.after.score == pytest.approx(made.after.score, abs=5e-5)
    states = {"before": None, "after": made.after, "best": None}
    assert dataclasses.replace(back, **states) == dataclasses.replace(made, **states)
    same = {"box": made.after.box, "wall_time": made.after.wall_time, "score": made.after.score}
    assert dataclasses.replace(back.after, **same) == made.after
    assert (back.before is None) == (made.before is None)


def test_events_have_every_key_that_frigates_own_have() -> None:
    payload = event_to_frigate(event("end", 60, clip="door.mp4"))
    assert FRIGATES_OWN["after"].keys() <= payload["after"].keys()
    after = payload["after"]
    assert (after["id"], after["camera"], after["label"]) == ("1700000000.250000-0000abcd", "cam", "狗")
    assert (after["start_time"], after["end_time"]) == (1700000000.25, 1700000002.25)
    assert (after["top_score"], after["score"], after["has_clip"]) == (0.9, 0.8123, True)
    assert after["entered_zones"] == ["yard", "door"]
    assert event_to_frigate(event())["before"]["id"] == after["id"]  # Frigate has no null there


def test_frigates_own_events_are_understood() -> None:
    made = event_from_frigate(FRIGATES_OWN)
    assert (made.kind, made.type, made.rule, made.stream_id) == ("appear", "update", "frigate", "front_door")
    assert (made.start_s, made.end_s, made.truncated) == (1607123955.475377, None, None)
    assert made.before is not None
    assert made.best is not None
    assert (made.before.box, made.after.box) == ((424, 500, 536, 712), (432, 496, 544, 854))
    assert (made.after.zones, made.after.score, made.best.score) == (("yard",), 0.87890625, 0.958984375)


def test_what_has_no_object_has_no_shape_there() -> None:
    with pytest.raises(ValueError, match=r"expected an event of an object, .* \(count\) is of none"):
        event_to_frigate(count_event())
    with pytest.raises(ValueError, match="expected a message of Frigate's topic events"):
        event_from_frigate({"type": "new", "before": {}, "after": {"id": "1"}})


def test_the_zones_that_were_entered_grow() -> None:
    before, after = sighting(0, zones=("gate",)), sighting(30, zones=("yard",))
    state = event_to_frigate(event("update", 30, before=before, after=after))["after"]
    assert (state["current_zones"], state["entered_zones"]) == (["yard"], ["gate", "yard"])
