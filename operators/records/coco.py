"""COCO-VID/TAO JSON: videos, images, categories, tracks, annotations.

What other tools count as a detection is a confirmed object: tentative and lost ones stay out. `sinks.coco`
writes the same rows one by one while a run lasts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import supervision as sv

from groundstream.operators.records.detection import (
    DetectionRecord,
    ObjectRecord,
    confirmed,
    ltwh,
    number_of,
)

Row = dict[str, Any]


class CocoRows:
    """Numbers what COCO-VID/TAO JSON counts: videos, images, categories, annotations.

    A video is one epoch of a stream. `frame_id` (COCO-VID) and `frame_index` (TAO) are the frame's `seq`.
    """

    def __init__(self) -> None:
        self._videos: dict[str, int] = {}
        self._categories: dict[str, int] = {}
        self._images = 0
        self._annotations = 0

    def count(self, kind: str, row: Row) -> None:
        """Take note of a row that was numbered before, so that the next ones go on behind it."""
        if kind == "videos":
            self._videos[row["name"]] = row["id"]
        elif kind == "categories":
            self._categories[row["name"]] = row["id"]
        elif kind == "images":
            self._images = row["id"]
        else:
            self._annotations = row["id"]

    def add(self, record: DetectionRecord) -> Iterator[tuple[str, Row]]:
        """Yield the rows that `record` adds, each with the list that it belongs to."""
        name = record["stream_id"]
        name = name if record["epoch"] == 1 else f"{name}:{record['epoch']}"
        size = {"width": record["width"], "height": record["height"]}
        if name not in self._videos:
            self._videos[name] = len(self._videos) + 1
            yield "videos", {"id": self._videos[name], "name": name, **size}
        self._images += 1
        at = {"image_id": self._images, "video_id": self._videos[name]}
        yield "images", _coco_image(record, name, at, size)
        for each in confirmed(record):
            phrase = each["phrase"]
            if phrase not in self._categories:
                self._categories[phrase] = len(self._categories) + 1
                yield "categories", {"id": self._categories[phrase], "name": phrase}
            self._annotations += 1
            ids = {"id": self._annotations, **at, "category_id": self._categories[phrase]}
            yield "annotations", ids | _coco_box(each)


def to_coco(records: Iterable[DetectionRecord]) -> dict[str, list[Row]]:
    """Return `records` as COCO-VID/TAO JSON: videos, images, categories, tracks, annotations."""
    rows = CocoRows()
    coco: dict[str, list[Row]] = {"videos": [], "images": [], "categories": [], "annotations": []}
    for record in records:
        for kind, row in rows.add(record):
            coco[kind].append(row)
    return coco | {"tracks": coco_tracks(coco["annotations"])}


def coco_tracks(annotations: Iterable[Row]) -> list[Row]:
    """Return TAO's list of tracks; a track has the category of its last annotation."""
    last = {(row["video_id"], row["track_id"]): row["category_id"] for row in annotations}
    return [
        {"id": track, "video_id": video, "category_id": category} for (video, track), category in last.items()
    ]


def from_coco(coco: Mapping[str, Sequence[Row]]) -> dict[tuple[str, int], sv.Detections]:
    """Return the detections of COCO-VID/TAO JSON by video name and frame number.

    `class_id` counts the categories in their order; data field `phrase` holds their names. Images without
    annotations are there too, empty.
    """
    names = {row["id"]: row["name"] for row in coco["videos"]}
    classes = {row["id"]: (number, row["name"]) for number, row in enumerate(coco["categories"])}
    rows: dict[int, list[Row]] = {row["id"]: [] for row in coco["images"]}
    for row in coco["annotations"]:
        rows[row["image_id"]].append(row)
    found = {}
    for image in coco["images"]:
        number = int(image["frame_index"] if "frame_index" in image else image["frame_id"])  # TAO, COCO-VID
        found[names[image["video_id"]], number] = _coco_detections(rows[image["id"]], classes)
    return found


def _coco_image(record: DetectionRecord, name: str, at: Row, size: Row) -> Row:
    seq = record["seq"]
    return {
        "id": at["image_id"],
        "video_id": at["video_id"],
        "frame_id": seq,
        "frame_index": seq,
        "file_name": f"{name}/{seq:06d}.jpg",
        "time_s": record["time_s"],
        **size,
    }


def _coco_box(each: ObjectRecord) -> Row:
    left, top, width, height = ltwh(each)
    return {
        "track_id": number_of(each),
        "bbox": [left, top, width, height],
        "area": round(width * height, 2),
        "iscrowd": 0,
        "score": each["score"],
    }


def _coco_detections(rows: Sequence[Row], classes: Mapping[int, tuple[int, str]]) -> sv.Detections:
    boxes = np.array([row["bbox"] for row in rows], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return sv.Detections(
        xyxy=boxes,
        confidence=np.array([row.get("score", 1.0) for row in rows], np.float32),
        class_id=np.array([classes[row["category_id"]][0] for row in rows], int),
        tracker_id=np.array([row["track_id"] for row in rows], int),
        data={"phrase": np.array([classes[row["category_id"]][1] for row in rows], str)},
    )
