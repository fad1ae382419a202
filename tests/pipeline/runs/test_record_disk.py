"""A disk that is full for a while: recording stops and goes on, detection never stops."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from coloured import PHRASES, make_coloured, records_of, times_of
from ray_runs import wait_until

from groundstream.operators.recording.index_reader import query_events, segments_between
from groundstream.pipeline.api import open_pipeline

FPS, LENGTH_S = 10, 40
FULL_AT, FREE_AT = 100, 250  # frames
RULES = {"lines": {"middle": {"start": [0.5, 0], "end": [0.5, 1]}}}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_stops_the_recording_alone(tmp_path: Path, small_disk: Path) -> None:
    clip = make_coloured(tmp_path / "clip.mp4", LENGTH_S * FPS, fps=FPS)
    out, ballast, seen = small_disk / "out", small_disk / "ballast", 0
    settings = {
        "model": "fake",
        "text_cache": "none",
        "rules": RULES,
        "clips": {"mode": "events", "pre_s": 1, "post_s": 1},
        "recording": True,
        "output": {"dir": out, "video": False},
    }

    with open_pipeline([str(clip)], PHRASES, **settings) as pipeline:
        for seen, _ in enumerate(pipeline, start=1):
            if seen == FULL_AT:
                fill(ballast, leave_bytes=2_500_000)  # less than a twentieth of the disk
            if seen == FREE_AT:
                wait_until(lambda: len(list((out / "recording").glob("*.mp4"))) == 1, "the file to end")
                ballast.unlink()

    assert seen == len(records_of(out / "detections.jsonl")) == LENGTH_S * FPS
    stopped, goes_on = [each for each in records_of(out / "events.jsonl") if each["kind"] == "recording"]
    assert (stopped["type"], goes_on["type"], stopped["id"]) == ("new", "end", goes_on["id"])
    assert "the disk is full" in stopped["after"]["values"]["reason"]
    assert FULL_AT / FPS <= stopped["start_s"] < goes_on["after"]["time_s"]
    before, after = [each.file for each in segments_between(out)]
    assert len(times_of(before.path)) == round(stopped["start_s"] * FPS)
    assert after.start_s == goes_on["after"]["time_s"]
    assert len(times_of(after.path)) == LENGTH_S * FPS - round(after.start_s * FPS)
    assert any(each.event.clip for each in query_events(out))


def fill(path: Path, leave_bytes: int) -> None:
    """Take all the room of a disk but `leave_bytes`."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    size = path.stat().st_size
    with path.open("r+b") as ballast:
        ballast.truncate(size - leave_bytes)
