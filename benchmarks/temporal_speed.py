"""What a temporal adapter costs beside the frozen model: time per frame, and bytes of memory per stream.

Frozen model, adapter and the whole detector with memory run by turns in one process, on one stream and on
eight whose frames come together. Run: `python benchmarks/temporal_speed.py [float32|bfloat16] [glip-t]
[--busy]`. `glip-t` takes GLIP-T (random weights, 480x640) in the place of glip-nano; `--busy` takes one
thread and counts processor time instead of wall time, so that ratios hold while others use the machine.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count, product
from typing import Any

import torch
from glip_speed import random_glip
from torch import Tensor

from groundstream.models.base import Grounder
from groundstream.models.registry import load_grounder
from groundstream.models.temporal.base import TemporalAdapter
from groundstream.models.temporal.baselines import FeatureEMA
from groundstream.models.temporal.cta import CTA, CTAConfig
from groundstream.models.temporal.memory import MemoryPool
from groundstream.models.types import Prompt
from groundstream.operators.detector import FrameTime
from groundstream.operators.detector.temporal import TemporalDetector

SIZES = {"glip-nano": ((256, 416), (416, 416)), "glip-t": ((480, 640),)}
ROUNDS = {"glip-nano": 60, "glip-t": 5}
STREAMS = {"glip-nano": (1, 8), "glip-t": (1,)}
#: sizes of a CTA beside those that it has by default, which are those of the one that ships.
FORMS: dict[str, dict[str, Any]] = {
    "cta, as it ships": {},
    "cta, width 32": {"width": 32},
    "cta, width 96": {"width": 96},
}


def stepper(adapter: TemporalAdapter, grounder: Grounder, levels: Sequence[Tensor]) -> Callable[[], object]:
    """Return one step of an adapter that has a memory."""
    adapter.prepare(grounder.device, grounder.dtype)
    count = len(levels[0])
    dt_s, yes = torch.full((count,), 0.04), torch.ones(count, dtype=torch.bool)
    _, memory = adapter.step(levels, adapter.empty(levels), dt_s, yes, yes)

    @torch.inference_mode()
    def step() -> object:
        return adapter.step(levels, memory, dt_s, yes, yes)

    return step


def detector(
    grounder: Grounder, adapter: TemporalAdapter, pixels: Tensor, content: Tensor
) -> Callable[[], object]:
    """Return one frame of each stream through backbone, scene cuts, memory, adapter and grounding."""
    whole = TemporalDetector(grounder, adapter.prepare(grounder.device, grounder.dtype), MemoryPool(2**30))
    names, number = [f"stream {row}" for row in range(len(pixels))], count()
    text = [grounder.encode_text([Prompt.of(["person", "car"])])] * len(names)

    def step() -> object:
        time_s = next(number) / 25
        return whole.detect(pixels, content, text, [FrameTime(name, 1, time_s) for name in names])

    return step


def compare(model: str, dtype: str, size: tuple[int, int], streams: int) -> None:
    """Print medians by turns per frame, shares of the frozen model's time, and bytes per stream."""
    grounder: Grounder
    if model == "glip-t":
        (grounder,) = random_glip(model, getattr(torch, dtype))
    else:
        grounder = load_grounder(model, device="cpu", dtype=dtype)
    pixels = torch.randint(
        0, 256, (streams, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    content = torch.tensor([size] * streams)
    text = [grounder.encode_text([Prompt.of(["person", "car"])])] * streams
    used = grounder.encode_image(pixels, content).levels[: grounder.features.levels]
    levels = [level.clone() for level in used]
    made: dict[str, TemporalAdapter] = {"ema": FeatureEMA()}
    channels = tuple(level.shape[1] for level in levels)
    made |= {name: CTA(CTAConfig(channels, **form)) for name, form in FORMS.items()}
    sides: dict[str, Callable[[], object]] = {"frozen model": lambda: grounder.detect(pixels, content, text)}
    with torch.inference_mode():
        sides |= {name: stepper(adapter, grounder, levels) for name, adapter in made.items()}
    sides["whole detector with cta"] = detector(grounder, CTA(CTAConfig(channels)), pixels, content)
    rounds = max(5, ROUNDS[model] // streams)
    taken = {side: seconds / streams for side, seconds in by_turns(sides, rounds).items()}
    base = taken["frozen model"]
    for side, seconds in taken.items():
        held = made[side].empty(levels).nbytes / streams / 2**20 if side in made else 0.0
        share = (seconds - base * side.startswith("whole")) / base
        print(
            f"{model:10s}{dtype:9s}{size[0]}x{size[1]} {streams} streams  {side:32s}"
            f"{seconds * 1e3:8.3f} ms {share:7.1%} {held:7.2f} MiB",
            flush=True,
        )


def by_turns(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return each side's median seconds over rounds in which all sides run once."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 3):
        for side, step in sides.items():
            start = clock()
            step()
            if number > 2:  # the first rounds warm up
                taken[side].append(clock() - start)
    return {side: statistics.median(seconds) for side, seconds in taken.items()}


def main(asked: list[str]) -> None:
    """Run the asked comparisons, or all."""
    if "--busy" in asked:
        torch.set_num_threads(1)
    model = "glip-t" if "glip-t" in asked else "glip-nano"
    for dtype in ("bfloat16", "float32"):
        if dtype in asked or not {"bfloat16", "float32"} & set(asked):
            for size, streams in product(SIZES[model], STREAMS[model]):
                compare(model, dtype, size, streams)


if __name__ == "__main__":
    main(sys.argv[1:])
