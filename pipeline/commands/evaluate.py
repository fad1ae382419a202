"""`groundstream eval temporal`: what a memory is worth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from itertools import chain, islice
from pathlib import Path

import cv2
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from groundstream.models.registry import load_grounder
from groundstream.models.temporal.file import load_adapter
from groundstream.pipeline.evaluation.scores import ScoreEMA
from training.scenes.bank import Bank
from groundstream.models.adaptation.clips import Clip
from groundstream.pipeline.evaluation.measure import Variant
from groundstream.operators.errors import OutputError
from groundstream.pipeline.evaluation.benchmark import QUESTIONS, Benchmark, Outcome


@dataclass(frozen=True)
class EvalOptions:
    """What `eval temporal` measures.

    Attributes:
        adapters: names or files, beside `none`, `ema` and score smoothing.
        bank: sprites for generated clips, or None.
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
        ModelError: an adapter cannot be had.
        ValueError: the bank or a video cannot be read.
    """
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
    if options.bank is not None:
        clips = _generated(bench, Bank.open(options.bank), options)
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


def _generated(bench: Benchmark, bank: Bank, options: EvalOptions) -> Iterator[Clip]:
    for seed in range(1, options.seeds + 1):
        yield from bench.generated(bank, seed, options.clips)


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
        raise OutputError(f"cannot write to {folder}: {error.strerror}; choose another --out") from None
