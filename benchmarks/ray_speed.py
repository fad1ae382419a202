"""What Ray costs: the pipeline with a process per stream, against the model alone with the same batches.

    python benchmarks/ray_speed.py [files] [live] [latency] [--model timed|glip-nano] [--streams 1 4 16]

`timed` is a stand-in whose batch of n takes 40 + 2n ms and leaves the processors alone, as a GPU does;
`glip-nano` is the shipped model, which shares them with everything else. Every line has both sides, taken
one after the other in one run:

files    frames per second from file to record on disk, of the middle of the run, against the model's own
         pictures per second at the same batch sizes.
live     the same for cameras that offer more than can be answered: the newest frame wins.
latency  from the reading of a frame to its result being with the sinks, at half of the load that the model
         can bear one picture at a time, against one forward of one picture.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pipeline_speed import make_clip
from timed_grounder import install

from groundstream.models.base import Grounder
from groundstream.models.registry import load_grounder
from groundstream.models.types import Prompt
from groundstream.pipeline.config.run import make_config
from groundstream.pipeline.observe.health import PipelineHealth
from groundstream.pipeline.pipeline import Pipeline

BASE_MS, PICTURE_MS, MAX_BATCH = 40.0, 2.0, 8
PHRASES = ["person", "white van", "red car"]
SECONDS = 6.0  # how long a run is meant to take
MODELS = ("timed", "glip-nano")


@dataclass(frozen=True)
class Model:
    """What answers: how it is named in a configuration, and the same one in this process."""

    name: str
    settings: Mapping[str, Any]
    grounder: Grounder

    def rate(self, sizes: Mapping[int, int], rounds: int = 30) -> float:
        """Return the pictures per second of the model alone at batches of these sizes."""
        total = sum(sizes.values())
        shares = [(size, max(1, round(rounds * count / total))) for size, count in sorted(sizes.items())]
        pictures, seconds = 0, 0.0
        for size, times in shares:
            self.forward_s(size)  # warms up
            for _ in range(times):
                seconds += self.forward_s(size)
                pictures += size
        return pictures / seconds

    def forward_s(self, size: int) -> float:
        """Return the seconds that one batch takes."""
        plan = self.grounder.size_rule.plan(360, 640)
        query = self.grounder.encode_text(self.grounder.split_prompt(Prompt.of(PHRASES)))
        pixels = torch.randint(0, 256, (size, *plan.canvas_px, 3), dtype=torch.uint8)
        started = time.perf_counter()
        self.grounder.detect(pixels, torch.tensor([plan.content_px] * size), [query] * size)
        return time.perf_counter() - started


@dataclass
class Run:
    """What was seen of one run.

    Attributes:
        marks: (seconds, records on disk) at every look.
        health: the last one.
    """

    marks: list[tuple[float, int]] = field(default_factory=list)
    health: PipelineHealth = field(default_factory=PipelineHealth)

    @property
    def rate(self) -> float:
        """Records per second between the first tenth of them and the last."""
        last = self.marks[-1][1]
        middle = [(at_s, count) for at_s, count in self.marks if 0.1 * last <= count <= 0.9 * last]
        (first_s, first), (last_s, end) = middle[0], middle[-1]
        return (end - first) / (last_s - first_s)

    @property
    def sizes(self) -> dict[int, int]:
        """How many batches of each size there were, in all detectors."""
        found: dict[int, int] = {}
        for detector in self.health.detectors:
            for size, count in detector.sizes.items():
                found[size] = found.get(size, 0) + count
        return found


class LineCounter:
    """Counts the lines that are on disk below a folder; reads only what is new."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._read, self._lines = folder, dict[Path, int](), 0

    def count(self) -> int:
        """Return how many records are on disk by now."""
        for path in self._folder.rglob("detections.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                new = file.read()
            self._read[path] = self._read.get(path, 0) + len(new)
            self._lines += new.count(b"\n")
        return self._lines


def run(
    model: Model, clips: Sequence[Path], *, live: bool = False, on_look: Callable[[Run], None] | None = None
) -> Run:
    """Run a stream for each of the clips to their end and watch the records grow."""
    seen = Run()
    with tempfile.TemporaryDirectory() as folder:
        config = make_config(
            {
                "streams": [
                    {"source": str(clip), "id": f"s{number}", "semantics": "live" if live else "file"}
                    for number, clip in enumerate(clips)
                ],
                "phrases": PHRASES,
                "model": {"device": "cpu", "name": model.name, **model.settings},
                "text_cache": "none",
                "executor": "ray",
                "output": {"dir": folder, "video": False},
            }
        )
        with Pipeline(config) as pipeline:
            runner = threading.Thread(target=pipeline.run)
            runner.start()
            lines = LineCounter(Path(folder))
            while runner.is_alive():
                seen.health = pipeline.health()
                seen.marks.append((time.perf_counter(), lines.count()))
                if on_look is not None:
                    on_look(seen)
                time.sleep(0.05)
            runner.join()
            seen.marks.append((time.perf_counter(), lines.count()))
    return seen


def measure_files(model: Model, streams: Sequence[int], folder: Path) -> None:
    """Print the throughput of files against the model alone."""
    _print_head(model, "files: records/s, end to end", "model alone", "batches")
    for count in streams:
        frames = max(200, int(SECONDS * model.rate({model.settings["max_batch"]: 1}))) // count
        seen = run(model, [make_clip(folder / f"files-{count}.mp4", frames)] * count)
        assert seen.marks[-1][1] == frames * count, f"{seen.marks[-1][1]} of {frames * count} records"
        alone = model.rate(seen.sizes)
        _print_row(count, f"{seen.rate:.1f}", f"{alone:.1f}", f"{seen.rate / alone:.1%}", _shown(seen.sizes))


def measure_live(model: Model, streams: Sequence[int], folder: Path) -> None:
    """Print the throughput of cameras that offer more than can be answered, against the model alone."""
    _print_head(model, "live, overloaded: records/s", "model alone", "batches")
    for count in streams:
        fps = max(2, round(2 * model.rate({model.settings["max_batch"]: 1}) / count))
        clip = make_clip(folder / f"live-{fps}.mp4", int(SECONDS * fps), fps=fps)
        seen = run(model, [clip] * count, live=True)
        alone = model.rate(seen.sizes)
        _print_row(count, f"{seen.rate:.1f}", f"{alone:.1f}", f"{seen.rate / alone:.1%}", _shown(seen.sizes))


def measure_latency(model: Model, streams: Sequence[int], folder: Path) -> None:
    """Print the latency of live frames at half of the load that the model bears one by one."""
    forward_ms = statistics.median(model.forward_s(1) for _ in range(20)) * 1e3
    _print_head(model, "live, half load: median", "one forward", "p95, p99 (medians over streams), dropped")
    for count in streams:
        fps = 500 / forward_ms / count
        frames = max(20, int(2 * SECONDS * fps))
        # Cameras tick at moments of their own: the second picture of each comes at another part of a period.
        clips = [
            make_clip(folder / f"half-{count}-{number}.mp4", frames, fps=fps, hold=1 + number / count)
            for number in range(count)
        ]
        health = run(model, clips, live=True).health
        p50, p95, p99 = (
            statistics.median(getattr(stream.latency_ms, name) for stream in health.streams)
            for name in ("p50", "p95", "p99")
        )
        lost = sum(sum(stream.dropped.values()) for stream in health.streams)
        tail = f"{p95:.1f} ms, {p99:.1f} ms, {lost}"
        _print_row(count, f"{p50:.1f} ms", f"{forward_ms:.1f} ms", f"{p50 - forward_ms:+.1f} ms", tail)


def load_model(name: str, folder: Path) -> Model:
    """Return one of `MODELS`, to be asked in this process and named in a configuration."""
    if name == "glip-nano":
        grounder = load_grounder(name, device="cpu")
        return Model(name, {"max_batch": grounder.preset.cpu_batch}, grounder)
    path = str(install(folder / name, BASE_MS, PICTURE_MS))
    return Model(path, {"max_batch": MAX_BATCH}, load_grounder(path, device="cpu"))


def _print_head(model: Model, ours: str, theirs: str, more: str) -> None:
    print(f"\n{Path(model.name).name}\n{'streams':>8} {ours:>34} {theirs:>14} {'':>9}  {more}", flush=True)


def _print_row(streams: int, ours: str, theirs: str, ratio: str, more: str) -> None:
    print(f"{streams:>8} {ours:>34} {theirs:>14} {ratio:>9}  {more}", flush=True)


def _shown(sizes: Mapping[int, int]) -> str:
    return ", ".join(f"{count} of {size}" for size, count in sorted(sizes.items()))


PARTS = {"files": measure_files, "live": measure_live, "latency": measure_latency}


def main() -> None:
    """Measure what is named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)  # as the detector's process does
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(arguments.model, Path(folder))
        for part in [part for part in PARTS if part in arguments.parts]:
            PARTS[part](model, arguments.streams, Path(folder))


if __name__ == "__main__":
    main()
