"""Pipelines on a Ray cluster of this machine, whose processes get killed."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import psutil
from coloured import PHRASES, records_of

from groundstream.pipeline.api import open_pipeline
from groundstream.pipeline.config.run import RayConfig
from groundstream.pipeline.executors.ray_cluster import RayCluster
from groundstream.pipeline.pipeline import Pipeline

FAKE = {"model": "fake", "text_cache": "none"}
#: How often each kind of process is killed, at a random moment.
KILLS = int(os.environ.get("GROUNDSTREAM_KILLS", "1"))


@contextmanager
def ray_here(cpus: float = 12.0) -> Iterator[None]:
    """Start Ray once for several pipelines; a pipeline joins what is there."""
    cluster = RayCluster(RayConfig(), cpus)
    try:
        yield
    finally:
        cluster.close()


def ray_pipeline(
    sources: list[Any], out: Path | None = None, detectors: int = 1, **settings: Any
) -> Pipeline:
    """Open a pipeline of colour-blob detectors under Ray."""
    output = {} if out is None else {"output": {"dir": out}}
    values = {"ray": {"detectors": detectors}, "executor": "ray", **FAKE, **output, **settings}
    if sources and isinstance(sources[0], dict):
        return open_pipeline([], PHRASES, streams=sources, **values)
    return open_pipeline(sources, PHRASES, **values)


def plain(path: Path) -> list[dict[str, Any]]:
    """Return records without what differs from run to run: the clocks."""
    kept = records_of(path)
    for record in kept:
        del record["wall_time"], record["timing_ms"]
    return kept


def processes(name: str) -> list[psutil.Process]:
    """Return the processes below this one that Ray calls by the name of a class."""
    return [child for child in psutil.Process().children(recursive=True) if _called(child, name)]


def _called(process: psutil.Process, name: str) -> bool:
    try:
        return f"ray::{name}" in " ".join(process.cmdline())
    except psutil.Error:  # gone meanwhile
        return False


@contextmanager
def killed_soon(kill: Callable[[], object], within_s: float) -> Iterator[None]:
    """Call `kill` at a random moment of the block, at the latest after `within_s` seconds."""
    timer = threading.Timer(random.uniform(0.0, within_s), kill)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def kill_one(name: str) -> None:
    """Kill (SIGKILL) one process that Ray calls by the name of a class."""
    random.choice(processes(name)).kill()


def wait_until(is_reached: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Wait for something; fail after a time that is long enough for a busy machine."""
    deadline = time.monotonic() + seconds
    while not is_reached():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def frames_in(folder: Path) -> int:
    """Return how many frames all parts of the annotated video hold together."""
    count = 0
    for part in folder.glob("annotated*.mp4"):
        with av.open(str(part)) as video:
            count += sum(1 for _ in video.decode(video=0))
    return count


def check_whole(folder: Path, frames: int) -> None:
    """Check that every frame is in the records and in the video, once and in order, and all answered."""
    records = records_of(folder / "detections.jsonl")
    assert [record["seq"] for record in records] == list(range(frames))
    times = [record["time_s"] for record in records]
    assert times == sorted(set(times))
    assert not any(record["stale"] for record in records)
    assert frames_in(folder) == frames
