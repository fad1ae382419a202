"""Processes that are killed in the middle of a run: files are whole, and nothing hangs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from coloured import make_coloured, records_of
from ray_runs import KILLS, check_whole, kill_one, killed_soon, ray_here, ray_pipeline, wait_until
from redis_server import RedisServer

FRAMES = 400
KINDS = ("csv", "mot", "coco", "jsonl")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    folder = tmp_path_factory.mktemp("clips")
    with ray_here():
        yield [str(make_coloured(folder / f"{name}.mp4", frames=FRAMES, fps=25)) for name in ("one", "two")]


def check_sinks(out: Path, stream: str) -> None:
    """Check that the further outputs hold every frame once, as the records do."""
    records = records_of(out / stream / "detections.jsonl")
    confirmed = sum(each["state"] == "confirmed" for record in records for each in record["objects"])
    assert [record["seq"] for record in records_of(out / f"{stream}.jsonl")] == list(range(FRAMES))
    coco = json.loads((out / f"{stream}.coco").read_text())
    assert [image["frame_id"] for image in coco["images"]] == list(range(FRAMES))
    for kind, key, offset in (("csv", 9, 0), ("mot", 0, 1)):
        lines = (out / f"{stream}.{kind}").read_text().splitlines()[1 - offset :]
        frames = [int(line.split(",")[key]) - offset for line in lines]
        assert frames == sorted(frames)
        # Where an output was behind the records, its frames were done again, by a tracker that was new.
        assert abs(len(lines) - confirmed) < 100
        assert len(set(frames)) > FRAMES - 10


@pytest.mark.parametrize("repetition", range(KILLS))
@pytest.mark.parametrize("victim", ["StreamActor", "DetectorActor"])
def test_files_are_whole_after_a_process_was_killed(
    clips: list[str], tmp_path: Path, victim: str, repetition: int
) -> None:
    sinks = [f"{kind}:{tmp_path}/{{stream}}.{kind}" for kind in KINDS]
    output = {"dir": tmp_path, "sinks": sinks}
    with ray_pipeline(clips, detectors=2, output=output) as pipeline:
        with killed_soon(lambda: kill_one(victim), within_s=2.0):
            pipeline.run()
        health = pipeline.health()
    for stream in ("one", "two"):
        check_whole(tmp_path / stream, FRAMES)
        check_sinks(tmp_path, stream)
    if victim == "StreamActor":
        assert sum(stream.restarts for stream in health.streams) <= 1


@pytest.mark.server
def test_redis_gets_every_frame_at_least_once(clips: list[str], tmp_path: Path) -> None:
    server = RedisServer(tmp_path, password="p4ss")
    try:
        output = {"dir": tmp_path / "out", "sinks": [f"{server.url}?stream=found"]}
        with (
            ray_pipeline(clips[:1], output=output) as pipeline,
            killed_soon(lambda: kill_one("StreamActor"), within_s=1.0),
        ):
            pipeline.run()
        with server.client() as client:
            sent = [fields[b"id"].decode() for _, fields in client.xrange("found")]
        assert list(dict.fromkeys(sent)) == [f"one:1:{seq}" for seq in range(FRAMES)]
        check_whole(tmp_path / "out", FRAMES)
    finally:
        server.kill()


def test_the_only_detector_is_killed_and_comes_back(clips: list[str], tmp_path: Path) -> None:
    with (
        ray_pipeline(clips[:1], out=tmp_path) as pipeline,
        killed_soon(lambda: kill_one("DetectorActor"), within_s=0.5),
    ):
        pipeline.run()
    check_whole(tmp_path, FRAMES)


def test_a_reader_of_results_sees_every_frame_once(clips: list[str]) -> None:
    seqs = []
    with ray_pipeline(clips[:1]) as pipeline:
        for result in pipeline:
            seqs.append(result.frame.seq)
            if len(seqs) == 150:
                kill_one("StreamActor")
    assert seqs == list(range(FRAMES))
    assert pipeline.streams[0].view.health.restarts == 1


def test_a_live_stream_is_back_within_ten_seconds(clips: list[str], tmp_path: Path) -> None:
    streams = [{"source": clips[0], "semantics": "live"}]
    records = tmp_path / "detections.jsonl"
    with ray_pipeline(streams, out=tmp_path) as pipeline:
        results = iter(pipeline)
        for _ in range(20):
            next(results)
        kill_one("StreamActor")
        before = len(records_of(records))
        wait_until(lambda: next(results).frame.seq > before + 20, "results after the kill")
    written = records_of(records)
    seqs = [record["seq"] for record in written]
    assert seqs == sorted(set(seqs))
    gap_s = max(b["time_s"] - a["time_s"] for a, b in itertools.pairwise(written))
    assert gap_s < 10
