"""Where a stream's outputs lie, and which of them may be written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from groundstream.operators.errors import OutputError
from groundstream.operators.frames import Position
from groundstream.operators.sinks.resume import ExistingOutput, Resume
from groundstream.operators.sinks.server import MOST_AHEAD
from groundstream.pipeline.config.run import OutputConfig
from groundstream.pipeline.streams.outputs import SINK_CAPACITY, StreamOutputs


def outputs(*sinks: str, **settings: Any) -> StreamOutputs:
    return StreamOutputs(OutputConfig(sinks=sinks, **settings), "cam")


@pytest.mark.parametrize(
    "url",
    [
        "redis://etc/hostname",
        "rediss://etc/hostname",
        "mqtt://etc/hostname",
        "mqtts://etc/hostname",
        "webhook+http://etc/hostname",
        "webhook+https://etc/hostname",
        "jsonl:-",
        "csv:-",
        "mot:-",
    ],
)
def test_what_is_no_file_is_never_there_already(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The path that each URL would be, if it were taken for a file's.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "hostname").touch()
    (tmp_path / "-").touch()
    outputs(url.replace("//etc", f"/{tmp_path}/etc") if "//" in url else url).check()
    outputs(url).check()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "mot", "coco"])
def test_a_file_that_is_there_is_refused_unless_it_may_be_replaced(kind: str, tmp_path: Path) -> None:
    url = f"{kind}:{tmp_path}/{{stream}}.out"
    outputs(url).check()
    (tmp_path / "cam.out").touch()
    with pytest.raises(OutputError, match=r"cam.out exists already; choose another place or add --overwrite"):
        outputs(url).check()
    outputs(url, overwrite=True).check()


@pytest.mark.parametrize("name", ["detections.jsonl", "annotated.mp4", "events.jsonl"])
def test_files_of_the_folder_are_refused_where_they_are_wanted(name: str, tmp_path: Path) -> None:
    config = OutputConfig(dir=tmp_path / "out")
    StreamOutputs(config, "cam", own_folder=True, events=True).check()
    assert (tmp_path / "out" / "cam").is_dir()
    (tmp_path / "out" / "cam" / name).touch()
    with pytest.raises(OutputError, match=f"{name} exists already"):
        StreamOutputs(config, "cam", own_folder=True, events=True).check()
    unwanted = OutputConfig(dir=tmp_path / "out", records=False, video=False)
    StreamOutputs(unwanted, "cam", own_folder=True).check()
    StreamOutputs(config, "cam").check()  # alone, its files lie in the folder itself


def test_nothing_is_made_before_it_is_asked_for(tmp_path: Path) -> None:
    made = StreamOutputs(OutputConfig(dir=tmp_path / "out"), "cam", own_folder=True)
    assert made.folder == tmp_path / "out" / "cam"
    assert made.records == tmp_path / "out" / "cam" / "detections.jsonl"
    assert not (tmp_path / "out").exists()
    assert outputs().folder is None
    assert outputs().records is None


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError, match=r"cannot make the output folder .*taken: .*; choose another --out"):
        outputs(dir=tmp_path / "taken").check()


def test_what_is_kept_is_asked_of_files_and_guessed_of_servers(tmp_path: Path) -> None:
    rows = [{"schema": "groundstream.detection/1", "seq": n, "time_s": n / 10, "epoch": 1} for n in range(3)]
    (tmp_path / "detections.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "cam.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:2]) + '{"cut')
    url, servers = f"jsonl:{tmp_path}/{{stream}}.jsonl", ("redis://host/0", "mqtt://host/topic")
    resume = Resume(Position(1, 300, 30.0), None, live=False, has_end=True)
    kept = outputs(url, *servers, dir=tmp_path, video=False).existing(resume)
    assert (kept["records"].seq, kept[url].seq) == (2, 1)
    assert [kept[server] for server in servers] == [ExistingOutput(300 - SINK_CAPACITY - MOST_AHEAD)] * 2
    assert kept.keys() == {"records", url, *servers}


def test_outputs_that_are_opened_are_named_and_closed(tmp_path: Path) -> None:
    config = OutputConfig(dir=tmp_path, video=False, sinks=(f"csv:{tmp_path}/a.csv",))
    failed: list[Exception] = []
    made = StreamOutputs(config, "cam", events=True)
    workers = made.open(live=False, on_error=lambda name, error: failed.append(error))
    for worker in workers:
        worker.close()
    assert len(workers) == 3
    assert failed == []
    assert {path.name for path in tmp_path.iterdir()} == {"detections.jsonl", "events.jsonl", "a.csv"}
