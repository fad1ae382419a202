"""Frames and results: values that never change."""

from __future__ import annotations

import dataclasses
import weakref

import av
import numpy as np
import pytest
from result_factory import PROMPT, detections, objects, result

from groundstream.operators.frames import Frame, to_detections
from groundstream.operators.records.detection import shared_json, shared_record


def test_a_frame_is_as_large_as_its_picture_also_when_that_has_left() -> None:
    frame = Frame("cam", 1, 0, 0.0, 0.0, av.VideoFrame(64, 48, "yuv420p"))
    assert (frame.width, frame.height) == (64, 48)
    left = dataclasses.replace(frame, picture=None)
    assert (left.width, left.height, left.picture) == (64, 48, None)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_objects_and_detections_say_the_same(count: int) -> None:
    found = detections(count)
    back = to_detections(objects(found), len(PROMPT.phrases))
    assert set(back.data) == set(found.data)
    for name in ("xyxy", "confidence", "class_id", "tracker_id"):
        one, other = getattr(back, name), getattr(found, name)
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    for name, column in back.data.items():
        np.testing.assert_array_equal(column, found.data[name])
        assert np.asarray(column).dtype.kind == np.asarray(found.data[name]).dtype.kind


def test_detections_have_zones_where_there_are_rules_also_without_objects() -> None:
    for count, zones in ((2, [("yard",), ("yard", "door")]), (0, [])):
        plain = result(count)
        zones_known = plain.with_zones(zones)
        assert "zones" not in plain.detections.data
        assert list(zones_known.detections.data["zones"]) == zones
        assert [seen.zones for seen in zones_known.objects] == zones
    with pytest.raises(ValueError, match="shorter"):
        result(2).with_zones([()])


def test_what_is_made_of_a_result_is_made_once_and_anew_for_another_one() -> None:
    given = result(2)
    assert shared_record(given) is shared_record(given)
    assert shared_json(given) is shared_json(given)
    assert given.detections is given.detections
    assert given.without_picture is given.without_picture
    assert given.without_picture.without_picture is given.without_picture
    assert shared_record(given.without_picture) == shared_record(given)
    other = given.with_dropped({"newer_frame": 3})
    assert (shared_record(given)["dropped_since_last"], shared_record(other)["dropped_since_last"]) == (
        {},
        {"newer_frame": 3},
    )
    assert other.objects is given.objects


def test_a_result_without_a_picture_goes_with_its_last_reference() -> None:
    given = result(2).without_picture
    assert given.without_picture is given
    gone = weakref.ref(given)
    del given
    assert gone() is None
