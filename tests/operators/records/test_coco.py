from __future__ import annotations

import json

import numpy as np
import pytest
from result_factory import result, results

from groundstream.operators.records.coco import from_coco, to_coco
from groundstream.operators.records.detection import (
    EPOCH_STEP,
    DetectionRecord,
    confirmed,
    from_record,
    record,
)

RECORDS = [record(each) for each in results([4, 0, 1, 7, 9])]


def only_confirmed(made: DetectionRecord) -> DetectionRecord:
    return {**made, "objects": confirmed(made)}


def test_coco_comes_back_as_detections() -> None:
    coco = json.loads(json.dumps(to_coco(RECORDS), allow_nan=False))
    back = from_coco(coco)
    names = [row["name"] for row in coco["categories"]]
    assert list(back) == [("cam", seq) for seq in range(5)]
    for made in RECORDS:
        expected, got = from_record(only_confirmed(made), names), back["cam", made["seq"]]
        np.testing.assert_allclose(got.xyxy, expected.xyxy, atol=0.011)
        np.testing.assert_allclose(got.confidence, expected.confidence, atol=1e-6)
        for field in ("class_id", "tracker_id"):
            assert getattr(got, field).tolist() == getattr(expected, field).tolist()
        assert got.data["phrase"].tolist() == expected.data["phrase"].tolist()


def test_coco_rows_refer_to_each_other_and_an_epoch_is_a_video_of_its_own() -> None:
    records = [*RECORDS, record(result(4, seq=5, epoch=2, size=(320, 180)))]
    coco = to_coco(records)
    assert [(row["name"], row["width"]) for row in coco["videos"]] == [("cam", 640), ("cam:2", 320)]
    for kind in ("videos", "images", "categories", "annotations"):
        ids = [row["id"] for row in coco[kind]]
        assert ids == list(range(1, len(ids) + 1))
    videos, categories = {row["id"] for row in coco["videos"]}, {row["id"] for row in coco["categories"]}
    images = {row["id"]: row["video_id"] for row in coco["images"]}
    tracks = {row["id"]: row for row in coco["tracks"]}
    for row in coco["annotations"]:
        assert images[row["image_id"]] == row["video_id"] == tracks[row["track_id"]]["video_id"]
        assert row["video_id"] in videos
        assert row["category_id"] in categories
        assert row["area"] == pytest.approx(row["bbox"][2] * row["bbox"][3], abs=0.01)
    assert EPOCH_STEP + 1 in tracks
