from __future__ import annotations

import numpy as np
import pytest
from result_factory import PROMPT, result, results

from groundstream.operators.records.detection import (
    EPOCH_STEP,
    DetectionRecord,
    confirmed,
    from_record,
    record,
    track_number,
)
from groundstream.operators.records.mot import from_mot, to_mot

RECORDS = [record(each) for each in results([4, 0, 1, 7, 9])]


def only_confirmed(made: DetectionRecord) -> DetectionRecord:
    return {**made, "objects": confirmed(made)}


@pytest.mark.parametrize("track_id", ["cam:1:1", "cam:1:9999999", "cam:2:1", "a:b:c:214:7"])
def test_track_numbers_can_be_turned_back(track_id: str) -> None:
    _, epoch, number = track_id.rsplit(":", 2)
    assert divmod(track_number(track_id), EPOCH_STEP) == (int(epoch) - 1, int(number))


def test_track_numbers_are_the_tracks_own_in_the_first_epoch_and_differ_in_later_ones() -> None:
    assert track_number("cam:1:17") == 17
    assert track_number("cam:2:17") == EPOCH_STEP + 17


def test_mot_lines_count_frames_from_one_and_hold_what_is_confirmed() -> None:
    made = record(result(4, seq=6))
    lines = to_mot(made)
    assert [line.split(",")[:2] for line in lines] == [["7", "1"], ["7", "4"]]
    left, top, right, bottom = made["objects"][0]["box"]
    numbers = [float(value) for value in lines[0].split(",")[2:]]
    score = made["objects"][0]["score"]
    np.testing.assert_allclose(
        numbers, [left, top, right - left, bottom - top, score, -1, -1, -1], atol=0.006
    )


def test_mot_text_comes_back_as_detections() -> None:
    back = from_mot(line for made in RECORDS for line in to_mot(made))
    assert sorted(back) == [1, 3, 4, 5]
    for made in RECORDS:
        expected = from_record(only_confirmed(made), PROMPT.phrases)
        if len(expected) == 0:
            continue
        got = back[made["seq"] + 1]
        np.testing.assert_allclose(got.xyxy, expected.xyxy, atol=0.011)
        np.testing.assert_allclose(got.confidence, expected.confidence, atol=1e-6)
        assert got.tracker_id.tolist() == expected.tracker_id.tolist()


def test_mot_ground_truth_and_its_blank_lines_are_read_and_others_refused() -> None:
    assert from_mot(["1,3,794.27,247.59,71.245,174.88,1,1,0.86\n", "\n"])[1].tracker_id.tolist() == [3]
    for line in ("1,3,794.27", "frame,id,left,top,width,height,conf"):
        with pytest.raises(ValueError, match="MOT line 2: expected frame,id,left"):
            from_mot(["", line])
