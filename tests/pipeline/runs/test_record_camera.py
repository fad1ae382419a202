"""A camera that dies during an event and comes back with another picture; then Ctrl-C during an event."""

from __future__ import annotations

import json
import signal
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from browser import play_all
from coloured import command, make_coloured, records_of, times_of
from ray_runs import wait_until
from rtsp_server import RtspServer

from groundstream.operators.recording.index_reader import query_events, segments_between

PASSWORD = "s3cr3t-camera"
SMALL, LARGE = (160, 120), (320, 240)
RULES = "zones: {all: {polygon: [[0, 0], [1, 0], [1, 1], [0, 1]]}}\n"

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("camera")
    camera = RtspServer(make_coloured(folder / "small.ts", 80), user="viewer", password=PASSWORD)
    larger = make_coloured(folder / "large.ts", 80, width=LARGE[0], height=LARGE[1])
    (folder / "rules.yaml").write_text(RULES)
    out = folder / "out"
    arguments = (
        "run", camera.url, "-q", "red car", "--model", "fake", "--text-cache", "none", "--no-video", "--out",
        out, "--rules", folder / "rules.yaml", "--clips", "events", "--pre", 1, "--post", 1, "--recording",
    )  # fmt: skip
    camera.start()
    with (folder / "said.txt").open("w") as said:
        process = subprocess.Popen(command(*arguments), stdout=said, stderr=said)
    try:
        wait_until(lambda: seen(out, 1) >= 30, "the camera")
        camera.kill()
        wait_until(lambda: made(out) == 1, "the clip of the camera that died")
        (out / "ended.json").write_text(json.dumps(events_of(out)))
        camera.start(larger)
        wait_until(lambda: seen(out, 2) >= 30, "the camera, which is back")
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
    finally:
        process.kill()
        process.wait()
        camera.kill()
    return out


def seen(out: Path, epoch: int) -> int:
    path = out / "detections.jsonl"
    return sum(record["epoch"] == epoch for record in records_of(path)) if path.exists() else 0


def made(out: Path) -> int:
    return len(list((out / "clips").glob("*.json")))


def events_of(out: Path) -> list[dict[str, Any]]:
    return records_of(out / "events.jsonl")


def clips_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((out / "clips").glob("*.json"))]


def test_the_event_and_its_clip_end_while_the_camera_is_away(run: Path) -> None:
    begun, *_, ended = json.loads((run / "ended.json").read_text())

    assert (begun["type"], ended["type"], begun["id"]) == ("new", "end", ended["id"])
    assert "trying again" in ended["truncated"]
    last_s = max(record["time_s"] for record in records_of(run / "detections.jsonl") if record["epoch"] == 1)
    assert ended["end_s"] == pytest.approx(last_s, abs=0.5)  # a frame more may have been on its way
    assert clips_of(run)[0]["truncated"] == ended["truncated"]


def test_each_connection_has_events_clips_and_recordings_of_its_own(run: Path) -> None:
    clips, files = clips_of(run), [each.file for each in segments_between(run)]

    assert [(clip["epoch"], clip["width"], clip["height"]) for clip in clips] == [(1, *SMALL), (2, *LARGE)]
    assert [file.epoch for file in files] == [1, 2]
    assert [size_of(file.path) for file in files] == [SMALL, LARGE]
    assert [each.event.after.epoch for each in query_events(run)] == [1, 2]


def test_ctrl_c_ends_the_event_and_its_clip(run: Path) -> None:
    last, clip = events_of(run)[-1], clips_of(run)[-1]

    assert (last["type"], last["truncated"]) == ("end", "the run was stopped")
    assert clip["truncated"] == "the run was stopped"
    assert clip["got"]["end_s"] == pytest.approx(last["end_s"], abs=0.5)
    assert not list((run / "clips" / ".pending").glob("*"))
    assert not list(run.rglob("*.part"))


def test_clips_hold_every_picture_from_the_first_of_the_event(run: Path) -> None:
    for clip in clips_of(run):
        times_s = [frame[1] for frame in clip["frames"]]
        assert clip["got"]["gaps"] == []
        assert max(b - a for a, b in pairwise(times_s)) < 0.25
        assert len(times_of(run / "clips" / clip["files"]["annotated"])) == len(times_s)


def test_a_browser_plays_everything(run: Path) -> None:
    videos = sorted([*(run / "clips").glob("*.mp4"), *(run / "recording").glob("*.mp4")])

    shown: set[Path] = set()
    for _ in range(3):  # on a busy machine the browser may draw a frame before it has decoded it
        for path, played in zip(videos, play_all(videos, [1.0] * len(videos)), strict=True):
            assert played.duration_s == pytest.approx(times_of(path)[-1], abs=0.3)
            if played.red.std() > 5:
                shown.add(path)
        if len(shown) == len(videos):
            break

    assert shown == set(videos)


def test_the_password_is_nowhere(run: Path) -> None:
    files = [path for path in run.parent.rglob("*") if path.is_file()]

    assert not [path for path in files if PASSWORD.encode() in path.read_bytes() or PASSWORD in path.name]


def size_of(path: Path) -> tuple[int, int]:
    with av.open(str(path)) as video:
        return video.streams.video[0].width, video.streams.video[0].height
