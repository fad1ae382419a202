"""`groundstream eval temporal`: what a memory is worth."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import as_file, files
from itertools import chain, islice
from pathlib import Path
from typing import cast

import cv2
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import groundstream
from groundstream.models.adaptation.clips import Clip
from groundstream.models.registry import load_grounder
from groundstream.models.temporal.file import load_adapter
from groundstream.operators.errors import ConfigError, OutputError
from groundstream.operators.utils.files import explain
from groundstream.pipeline.evaluation.benchmark import QUESTIONS, Benchmark, Outcome
from groundstream.pipeline.evaluation.measure import ScoreEMA, Variant

#: makes so many clips per seed of a bank: (benchmark, folder of the bank, seeds, clips).
MakeClips = Callable[[Benchmark, Path, Sequence[int], int], Iterator[Clip]]


@dataclass(frozen=True)
class EvalOptions:
    """What `eval temporal` measures.

    Attributes:
        adapters: names or files, beside `none`, `ema` and score smoothing.
        bank: sprites for generated clips, or None; they are made by `training/`, which only a checkout has.
        videos: real footage.
        clips: generated clips per seed, and at most so many per video.
        seeds: how many sets of generated clips.
        start_s: so much of each video is skipped, as training has seen it; a shorter video is taken whole.
        out: folder for `temporal.json` and `temporal.png`, or None.
    """

    adapters: tuple[str, ...] = ("cta",)
    bank: Path | None = None
    videos: tuple[Path, ...] = ()
    clips: int = 12
    seeds: int = 3
    start_s: float = 0.0
    out: Path | None = None


def eval_command(options: EvalOptions, console: Console) -> dict[str, Outcome]:
    """Measure, print a table per kind of footage, write the numbers and a plot.

    Raises:
        ConfigError: there is a bank, but not the part of the repository that makes clips of it.
        ModelError: an adapter cannot be had.
        ValueError: the bank or a video cannot be read.
    """
    make_clips = None if options.bank is None else _generator()
    one_thread()
    grounder = load_grounder("glip-nano", device="cpu")
    variants = [
        Variant("none"),
        Variant("ema", load_adapter("ema", grounder)),
        Variant("score ema", smoothing=ScoreEMA()),
        *(Variant(name, load_adapter(name, grounder)) for name in options.adapters),
    ]
    bench = Benchmark.of_classes(grounder)
    outcomes: dict[str, Outcome] = {}
    if options.bank is not None and make_clips is not None:
        clips = make_clips(bench, options.bank, range(1, options.seeds + 1), options.clips)
        outcomes["generated"] = measure(bench, clips, variants, options.clips * options.seeds, console)
    videos = options.videos or (() if options.bank is not None else (_demo_clip(),))
    if videos:
        real = chain.from_iterable(
            islice(_real(bench, path, options.start_s), options.clips) for path in videos
        )
        outcomes["real"] = measure(bench, real, variants, options.clips * len(videos), console)
    for title, outcome in outcomes.items():
        console.print(table_of(f"{title} clips", outcome))
    if options.out is not None:
        _write(options.out, outcomes)
    return outcomes


def _generator() -> MakeClips:
    """Return `training.bench.generated.generated_clips` of the checkout that this package is part of.

    The package never needs `training/`: its scenes are for those who train, and for this option.
    """
    checkout = Path(groundstream.__file__).resolve().parents[2]
    if (checkout / "training" / "bench" / "generated.py").is_file():
        sys.path.append(str(checkout))  # last, so that nothing in a checkout hides an installed package
    try:
        module = import_module("training.bench.generated")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("training"):
            raise
        raise ConfigError(
            "generated clips (--bank) are made by training/, a folder of the repository that is not part of "
            "the installed package; install from a checkout (pip install --editable .), or leave --bank out"
        ) from None
    return cast(MakeClips, module.generated_clips)


def _real(bench: Benchmark, path: Path, start_s: float) -> Iterator[Clip]:
    try:
        yield from bench.real(path, start_s=start_s)
    except ValueError:
        if not start_s:
            raise
        yield from bench.real(path)  # it ends before


def _demo_clip() -> Path:
    with as_file(files("groundstream.configs") / "demo" / "street.mp4") as path:
        return path


def one_thread() -> None:
    """Use one thread: spinning threads beside other work are several times slower."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def measure(
    bench: Benchmark, clips: Iterator[Clip], variants: Sequence[Variant], total: int, console: Console
) -> Outcome:
    """Run the benchmark with a bar; `total` is the number of clips."""
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("clips", total=total)
        return bench.run(clips, variants, on_clip=lambda done: progress.update(task, completed=done))


def table_of(title: str, outcome: Outcome) -> Table:
    """Return a table, questions down and variants across; AP50 in percent."""
    numbers, gains = outcome.table(), outcome.gains()
    table = Table("AP50, % (other units: named)", *numbers, title=title, box=None, pad_edge=False)
    units = {
        "ghosts": " (% of boxes)",
        "score change": " (1/100)",
        "record change": " (1/100)",
        "lag": " (ms)",
        "switches": " (a clip)",
    }
    for question in next(iter(numbers.values())):
        row = (f"{values[question]:.2f}" for values in numbers.values())
        table.add_row(question + units.get(question, ""), *row)
    cells = (f"{mean:+.2f} ({low:+.2f}..{high:+.2f})" for mean, low, high in gains.values())
    table.add_row("gain on spoiled (95 %)", "", *cells)
    return table


def _write(folder: Path, outcomes: dict[str, Outcome]) -> None:
    from groundstream.pipeline.evaluation.plot import plot

    try:
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            title: {
                "table": outcome.table(),
                "gains": {question: outcome.gains(question) for question in QUESTIONS},
            }
            for title, outcome in outcomes.items()
        }
        (folder / "temporal.json").write_text(json.dumps(content, indent=1))
        plot(outcomes, folder / "temporal.png")
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {explain(error)}; choose another --out") from None
