from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from result_factory import detections, result, results

from groundstream.operators.records import read_records, record
from groundstream.operators.records.coco import from_coco, to_coco
from groundstream.operators.records.mot import from_mot
from groundstream.operators.sinks.base import Sink
from groundstream.operators.sinks.coco import CocoSink, finish_coco
from groundstream.operators.sinks.record_files import CSV_COLUMNS, CsvSink, JsonlSink, MotSink


def write_all(sink: Sink, counts: list[int]) -> None:
    for each in results(counts):
        sink.write(each)
    sink.close()
    sink.close()


def test_jsonl_holds_every_object_of_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "detections.jsonl"
    write_all(JsonlSink(path), [3, 0, 7])
    assert list(read_records(path)) == [record(each) for each in results([3, 0, 7])]
    assert path.read_bytes().count(b"\n") == 3
    assert "狗" in path.read_text(encoding="utf-8")


def test_jsonl_takes_names_that_are_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "detections.jsonl"
    sink = JsonlSink(path)
    sink.write(result(1, stream=os.fsdecode(b"caf\xe9")))
    sink.close()
    assert [made["stream_id"] for made in read_records(path)] == [os.fsdecode(b"caf\xe9")]


def test_csv_has_supervisions_columns_first_and_only_what_is_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "detections.csv"
    write_all(CsvSink(path), [4, 0])
    header, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
    found = detections(4)[[0, 3]]
    assert tuple(header) == CSV_COLUMNS
    assert header[:7] == ["x_min", "y_min", "x_max", "y_max", "class_id", "confidence", "tracker_id"]
    table = np.array([row[:7] for row in rows], float)
    np.testing.assert_allclose(table[:, :4], found.xyxy, atol=0.006)
    assert table[:, 4].tolist() == found.class_id.tolist()
    np.testing.assert_allclose(table[:, 5], found.confidence, atol=6e-5)
    assert table[:, 6].tolist() == found.tracker_id.tolist()
    assert [row[header.index("track_id")] for row in rows] == ["cam:1:1", "cam:1:4"]


def test_csv_of_nothing_still_has_its_columns(tmp_path: Path) -> None:
    write_all(CsvSink(tmp_path / "detections.csv"), [])
    assert (tmp_path / "detections.csv").read_text() == ",".join(CSV_COLUMNS) + "\n"


def test_mot_text_counts_frames_from_one(tmp_path: Path) -> None:
    path = tmp_path / "mot.txt"
    write_all(MotSink(path), [4, 0, 1])
    back = from_mot(path.read_text().splitlines())
    assert {frame: len(found) for frame, found in back.items()} == {1: 2, 3: 1}
    assert path.read_text().splitlines()[0].startswith("1,1,")


def test_coco_is_the_document_that_the_converter_makes_and_leaves_no_part(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    write_all(CocoSink(path), [4, 0, 9])
    assert json.loads(path.read_text(encoding="utf-8")) == to_coco(
        record(each) for each in results([4, 0, 9])
    )
    assert [each.name for each in tmp_path.iterdir()] == ["coco.json"]


def test_coco_of_nothing_is_a_document(tmp_path: Path) -> None:
    write_all(CocoSink(tmp_path / "coco.json"), [])
    assert from_coco(json.loads((tmp_path / "coco.json").read_text())) == {}


def test_a_killed_run_leaves_a_part_from_which_coco_can_be_made(tmp_path: Path) -> None:
    sink = CocoSink(tmp_path / "coco.json")
    for each in results([4, 0, 9]):
        sink.write(each)
    part = tmp_path / "coco.json.part"
    whole = part.read_bytes()
    for cut in (len(whole), len(whole) - 1, len(whole) - 30, 0):
        part.write_bytes(whole[:cut])
        finish_coco(part, tmp_path / "saved.json")
        back = from_coco(json.loads((tmp_path / "saved.json").read_text(encoding="utf-8")))
        assert len(back) == (3 if cut else 0)
    assert not (tmp_path / "coco.json").exists()
    sink.close()


@pytest.mark.parametrize("make", [JsonlSink, CsvSink, MotSink, CocoSink])
def test_an_older_file_is_replaced(make: Callable[[Path], Sink], tmp_path: Path) -> None:
    path = tmp_path / "out"
    write_all(make(path), [4] * 50)
    long = path.stat().st_size
    write_all(make(path), [4])
    assert path.stat().st_size < long / 10
