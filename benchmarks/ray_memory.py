"""What a stream costs under Ray: memory, processor, and what crosses from process to process per frame.

    python benchmarks/ray_memory.py [--frames 20000] [--size 640x360] [--live]

Runs one file through a stream's process and a detector whose forward takes no time, and looks every second:
memory and processor time of the stream's process, what Ray's object store holds, and how many objects were
put into it since its start (by Ray's own count). Each of them is the pixels of one picture.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from pipeline_speed import make_clip
from ray_speed import MAX_BATCH, Model, Run, run
from timed_grounder import install

from groundstream.models.registry import load_grounder


@dataclass(frozen=True)
class Look:
    """One look at a run: records on disk, the stream's process, objects in the store and put into it."""

    records: int
    resident_mb: float
    unshared_mb: float
    processor_s: float
    held: int
    put: int


def measure(frames: int, size: tuple[int, int], live: bool, folder: Path) -> None:
    """Run once; print what was seen after the first tenth and at the end."""
    path = str(install(folder / "free", 0.0, 0.0))
    model = Model(path, {"max_batch": MAX_BATCH}, load_grounder(path, device="cpu"))
    looks: list[Look] = []
    due_s = 0.0

    def look(seen: Run) -> None:
        nonlocal due_s
        if time.perf_counter() > due_s:
            due_s = time.perf_counter() + 1.0
            looks.extend(Look(seen.marks[-1][1], *process, *store()) for process in stream_processes())

    run(model, [make_clip(folder / "long.mp4", frames, *size)], live=live, on_look=look)
    running = [each for each in looks if frames / 10 <= each.records < frames]
    first, last = running[0], running[-1]
    thousands = (last.records - first.records) / 1000
    slope = (last.resident_mb - first.resident_mb) / thousands
    height, width = model.grounder.size_rule.plan(360, 640).canvas_px
    objects = (last.put - first.put) / thousands / 1000
    processor_ms = (last.processor_s - first.processor_s) / thousands
    print(f"a stream's process over {frames} frames of {size[0]}x{size[1]}, after a tenth and at the end")
    print(
        f"  resident  {first.resident_mb:.1f} -> {last.resident_mb:.1f} MB, {slope:+.2f} MB per 1,000 frames"
    )
    print(f"  unshared  {first.unshared_mb:.1f} -> {last.unshared_mb:.1f} MB")
    print(f"  processor {processor_ms:.2f} ms per frame")
    print(f"object store: {objects:.3f} objects put per frame, each {width}x{height} pixels of 3 bytes")
    print(f"  {first.held} -> {last.held} objects held, at most {max(each.held for each in looks)}")


def stream_processes() -> list[tuple[float, float, float]]:
    """Return resident MB, unshared MB and processor seconds of every process that runs a stream."""
    found = []
    for process in psutil.Process().children(recursive=True):  # a cluster of our own is below us
        with suppress(psutil.Error):
            if any("StreamActor" in word for word in [process.name(), *process.cmdline()[:1]]):
                memory, times = process.memory_full_info(), process.cpu_times()
                found.append((memory.rss / 1e6, memory.uss / 1e6, times.user + times.system))
    return found


def store() -> tuple[int, int]:
    """Return how many objects Ray's object store holds, and how many were put into it since its start."""
    from ray._private.worker import _global_node

    text = (Path(_global_node.get_logs_dir_path()) / "debug_state.txt").read_text()
    counts = [
        re.search(pattern, text)
        for pattern in (r"num local plasma objects: (\d+)", r"ObjectManager\.ObjectAdded - (\d+) total")
    ]
    held, put = (int(found[1]) if found else 0 for found in counts)
    return held, put


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--size", default="640x360")
    parser.add_argument(
        "--live", action="store_true", help="play the file in real time, the newest frame wins"
    )
    arguments = parser.parse_args()
    os.environ["RAY_debug_dump_period_milliseconds"] = "1000"  # noqa: SIM112 -- so Ray reads it
    with tempfile.TemporaryDirectory() as folder:
        width, height = map(int, arguments.size.split("x"))
        measure(arguments.frames, (width, height), arguments.live, Path(folder))


if __name__ == "__main__":
    main()
