"""Eight sources at once under Ray, files and cameras: one is not there, one goes and comes back."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from coloured import command, ids_by_phrase, make_coloured, records_of
from ports import free_port
from ray_runs import frames_in, processes, wait_until
from rtsp_server import RtspServer

PASSWORD = "s3cr3t-camera"
FRAMES = 80
OWN = {"red": "red car", "white": "white van", "blue": "blue bus"}

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def cameras(tmp_path: Path) -> Iterator[list[RtspServer]]:
    clip = make_coloured(tmp_path / "camera.ts", frames=FRAMES)
    servers = [RtspServer(clip, user="viewer", password=PASSWORD) for _ in range(3)]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.kill()


def test_eight_sources_with_phrases_of_their_own(cameras: list[RtspServer], tmp_path: Path) -> None:
    clip = make_coloured(tmp_path / "file.mp4", frames=FRAMES)
    missing = f"rtsp://viewer:{PASSWORD}@127.0.0.1:{free_port()}/cam"
    sources = [str(clip)] * 4 + [camera.url for camera in cameras] + [missing]
    names = ["file1", "file2", "file3", "file4", "cam1", "cam2", "cam3", "gone"]
    phrases = [[list(OWN.values())[number % 3]] for number in range(8)]
    streams = [
        {"source": source, "id": name, "phrases": asked}
        for source, name, asked in zip(sources, names, phrases, strict=True)
    ]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"streams": streams}))
    out = tmp_path / "out"
    said_path = tmp_path / "said.txt"
    with said_path.open("w") as said:
        run = subprocess.Popen(
            command(
                *("run", "--config", tmp_path / "run.yaml", "--model", "fake", "--text-cache", "none"),
                *("--out", out, "--executor", "ray", "--log-level", "info"),
            ),
            stdout=said,
            stderr=said,
        )
    try:
        follow(run, out, cameras, said_path)
    finally:
        run.kill()
        run.wait()
    shorter = []
    for name, asked in zip(names[:7], phrases, strict=False):
        records = records_of(out / name / "detections.jsonl")
        seqs = [record["seq"] for record in records]
        assert seqs == (list(range(FRAMES)) if name.startswith("file") else sorted(set(seqs)))
        assert set(ids_by_phrase(records)) == set(asked)
        if frames_in(out / name) != len(records):
            shorter.append(name)
    # The camera whose process was killed has lost the last fragment of its video, if anybody has.
    assert len(shorter) <= 1
    assert all(name.startswith("cam") for name in shorter)
    assert records_of(out / "gone" / "detections.jsonl") == []
    said_text = said_path.read_text()
    assert "nothing listens there" in said_text
    assert PASSWORD not in said_text
    assert not any(PASSWORD.encode() in path.read_bytes() for path in out.rglob("*") if path.is_file())


def follow(run: subprocess.Popen[bytes], out: Path, cameras: list[RtspServer], said: Path) -> None:
    """Let a camera go and come back, have a camera's process killed, then end the run with SIGTERM."""

    def count(name: str, epoch: int = 1) -> int:
        path = out / name / "detections.jsonl"
        records = records_of(path) if path.exists() else []
        return sum(record["epoch"] == epoch for record in records)

    wait_until(lambda: all(count(name) >= 10 for name in ("cam1", "cam2", "cam3")), said.read_text())
    cameras[0].kill()
    before = count("cam2")
    wait_until(lambda: count("cam2") >= before + 20, "another camera, which goes on")
    cameras[0].start()
    wait_until(lambda: count("cam1", epoch=2) >= 10, "the camera that comes back")
    wait_until(lambda: all(count(f"file{n}") == FRAMES for n in (1, 2, 3, 4)), "the files' ends")
    left = len(processes("StreamActor"))
    processes("StreamActor")[0].kill()
    wait_until(lambda: len(processes("StreamActor")) == left, "the process that comes back")
    epochs = {name: max(n for n in range(1, 9) if count(name, n)) for name in ("cam1", "cam2", "cam3")}
    wait_until(lambda: all(count(name, epoch) >= 10 for name, epoch in epochs.items()), "all cameras")
    run.send_signal(signal.SIGTERM)
    assert run.wait(120) == 143, said.read_text()
