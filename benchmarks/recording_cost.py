"""What clips and recordings cost: the same run without them and with them, in turns.

    python benchmarks/recording_cost.py [--model fake|glip-nano] [--rounds 5] [--streams 16]

Runs a clip as `groundstream run --rules ...` does, without and with `--recording --clips events`. Prints
frames per second up to the last result, and CPU milliseconds per frame: of the run's own process (decoder,
model, tracker, outputs, recording), and of the renderer, which works at low priority in a process of its own.
Then (memory): live streams with ten seconds of pre-roll each, resident memory with and without.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from importlib.resources import as_file, files
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from pipeline_speed import PHRASES, make_clip

from groundstream.pipeline.api import open_pipeline

LINE = {"lines": {"middle": {"start": [0.5, 0.0], "end": [0.5, 1.0], "phrases": ["red car"]}}}
ROAD = {"lines": {"road": {"start": [0.62, 0.8], "end": [0.62, 0.25], "phrases": ["person"]}}}
KEEPING = {"clips": {"mode": "events", "pre_s": 1, "post_s": 1}, "recording": {"segment_s": 10}}
SIDES = ("without", "with")
PRE_S, LIVE_S = 10, 25


def run(clip: Path, out: Path, phrases: list[str], settings: dict[str, Any]) -> tuple[float, float, float]:
    """Run once; return frames per second and CPU milliseconds per frame, of this process and of others."""
    output = {"dir": out, "video": False, "overwrite": True}
    with open_pipeline(
        clip, phrases, text_cache="none", executor="local", output=output, **settings
    ) as pipeline:
        before, started, last, frames = os.times(), time.perf_counter(), 0.0, 0
        for _ in pipeline:
            last, frames = time.perf_counter(), frames + 1
    after = os.times()
    own = after.user + after.system - before.user - before.system
    others = after.children_user + after.children_system - before.children_user - before.children_system
    return frames / (last - started), 1000 * own / frames, 1000 * others / frames


def measure_speed(
    clip: Path, out: Path, phrases: list[str], rules: dict[str, Any], model: str, rounds: int
) -> None:
    """Print both sides; the median of `rounds` rounds, in which the sides take turns."""
    base = {"model": model, "rules": rules}  # events are told on both sides
    settings = {"without": base, "with": {**base, **KEEPING}}
    seen: dict[str, list[tuple[float, float, float]]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side in SIDES if number % 2 else reversed(SIDES):
            seen[side].append(run(clip, out / f"{side}-{number}", phrases, settings[side]))
    for side in SIDES:
        rate, own, others = (median(column) for column in zip(*seen[side], strict=True))
        print(f"{model}, {side}: {rate:.0f} frames/s, {own:.2f} ms CPU a frame, renderer {others:.2f} ms")
    ratios = [b[1] / a[1] for a, b in zip(seen["without"], seen["with"], strict=True)]
    print(f"{model}: CPU of the run's own process x {median(ratios):.3f} {[round(r, 3) for r in ratios]}")
    clips = len(list((out / "with-0" / "clips").glob("*.json")))
    assert clips, "there is no clip; the benchmark measures nothing"
    print(f"{model}: {clips} clips a run", flush=True)


def measure_memory(clip: Path, out: Path, streams: int) -> None:
    """Print the resident memory of live streams after more than the pre-roll, with and without it."""
    never = {"lines": {"never": {"start": [0, 0], "end": [0.01, 0], "phrases": ["red car"]}}}
    keeping = {"rules": never, "clips": {"mode": "events", "pre_s": PRE_S, "post_s": 1}}
    process = psutil.Process()
    for side, settings in (("without", {}), ("with", keeping)):
        sources = [
            {"source": str(clip), "id": f"s{n}", "semantics": "live", "fps": 2} for n in range(streams)
        ]
        output = {"dir": out / f"memory-{side}", "video": False}
        with open_pipeline(
            [],
            PHRASES,
            streams=sources,
            model="fake",
            text_cache="none",
            executor="local",
            output=output,
            **settings,
        ) as pipeline:
            reached, memory = 0.0, 0.0
            for result in pipeline:
                reached = max(reached, result.frame.time_s)
                memory = max(memory, process.memory_info().rss / 1e6)
                if reached > LIVE_S:
                    break
        print(f"{streams} live streams, {side} {PRE_S} s of pre-roll: {memory:.0f} MB at most", flush=True)
    rate = clip.stat().st_size / 60
    print(f"the clips' bit rate asks for {streams * rate * (PRE_S + 4) / 1e6:.1f} MB of pre-roll")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="fake", choices=["fake", "glip-nano"])
    parser.add_argument("--rounds", type=int, default=5, help="of the speed runs; 0 leaves them out")
    parser.add_argument("--streams", type=int, default=16, help="of the memory run; 0 leaves it out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, as_file(files("groundstream.configs") / "demo") as demo:
        folder = Path(name)
        if arguments.model == "fake":
            clip = make_clip(folder / "clip.mp4", 1800)
            if arguments.rounds:
                measure_speed(clip, folder, PHRASES, LINE, "fake", arguments.rounds)
            if arguments.streams:
                measure_memory(clip, folder, arguments.streams)
        else:
            measure_speed(demo / "street.mp4", folder, ["person"], ROAD, "glip-nano", arguments.rounds)


if __name__ == "__main__":
    main()
