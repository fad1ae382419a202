"""Finds out how many pictures at once a model answers best on the device that it is on, by trying."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from groundstream.models.base import Grounder
from groundstream.models.types import Prompt

MOST = 64  # larger batches gain nothing on any GPU that is known, and cost latency
BOUND_S = 0.25  # a batch may take so long: four batches a second keep a live picture fresh
GAIN = 1.05  # twice the batch must answer so many times the pictures per second to be worth its latency
SPARE = 0.8  # of the memory that is free; the rest is for other sizes of picture and longer prompts
_ROUNDS = 3

log = logging.getLogger("groundstream.detector")


@dataclass(frozen=True)
class Trial:
    """One batch size that was tried.

    Attributes:
        size: pictures at once.
        seconds: what a batch took, median.
        peak_bytes: most memory that the device held meanwhile, beyond what it held before; 0 on a CPU.
    """

    size: int
    seconds: float
    peak_bytes: int

    @property
    def rate(self) -> float:
        """Pictures per second."""
        return self.size / self.seconds


class MemoryMeter:
    """A device's memory as the probe sees it; this one, the CPU's, is never scarce."""

    def peak_of(self, forward: Callable[[], None]) -> int:
        """Run `forward`; return the bytes that it needed at most."""
        forward()
        return 0

    def free(self) -> int:
        """Return the bytes that can still be had."""
        return 1 << 50


class CudaMemoryMeter(MemoryMeter):
    """The memory of a CUDA GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def peak_of(self, forward: Callable[[], None]) -> int:
        """Run `forward`; return the bytes that it needed at most, beyond those held before."""
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        forward()
        return torch.cuda.max_memory_allocated(self._device) - before

    def free(self) -> int:
        """Return the bytes that no process holds, once torch has given back what it keeps for later."""
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self._device)
        return free


def find_max_batch(grounder: Grounder) -> int:
    """Return how many pictures at once `grounder` answers best; takes a few seconds.

    Pictures are 16:9, as most cameras', the prompt has five phrases.
    """
    memory = CudaMemoryMeter(grounder.device) if grounder.device.type == "cuda" else MemoryMeter()
    trials = try_sizes(forward_of(grounder), memory)
    best = best_of(trials)
    table = ", ".join(f"{trial.size}: {trial.seconds * 1e3:.1f} ms" for trial in trials)
    free_gb = memory.free() / 1e9  # also hands back what the large batches took
    log.info("most pictures in a batch: %d (tried %s; %.1f GB free)", best, table, free_gb)
    return best


def forward_of(grounder: Grounder) -> Callable[[int], None]:
    """Return a function that runs the model on so many pictures."""
    plan = grounder.size_rule.plan(1080, 1920)
    prompt = Prompt.of(["person", "red car", "white van", "bicycle", "dog"])
    query = grounder.encode_text(grounder.split_prompt(prompt))
    # Noise: on an even picture some models find nothing and skip the work that follows.
    noise = torch.randint(0, 256, (*plan.canvas_px, 3), dtype=torch.uint8)

    def forward(size: int) -> None:
        grounder.detect(
            noise.expand(size, -1, -1, -1).contiguous(),
            torch.tensor([plan.content_px] * size),
            [query] * size,
        )

    return forward


def try_sizes(
    forward: Callable[[int], None],
    memory: MemoryMeter,
    *,
    most: int = MOST,
    bound_s: float = BOUND_S,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Trial]:
    """Run batches of 1, 2, 4, ... until the next one would not fit, one was late, or two were no gain.

    One that is no gain says little: some kernels do worse on two pictures than on one or four. A size that
    the device has no room for is not among the answers; nor is one that takes longer than `bound_s`, or
    than one and a half pictures where a picture alone takes that long.
    """
    trials: list[Trial] = []
    size = 1
    while size <= most:
        trial = _try_size(size, forward, memory, clock)
        if trial is None or (trials and trial.seconds > max(bound_s, 1.5 * trials[0].seconds)):
            break
        trials.append(trial)
        if _has_peaked(trials) or 2 * trial.peak_bytes > SPARE * memory.free():
            break
        size *= 2
    return trials


def best_of(trials: Sequence[Trial]) -> int:
    """Return the smallest size whose rate is within `GAIN` of the best one's."""
    if not trials:
        return 1
    fastest = max(trial.rate for trial in trials)
    return next(trial.size for trial in trials if trial.rate * GAIN >= fastest)


def _has_peaked(trials: Sequence[Trial]) -> bool:
    rates = [trial.rate for trial in trials]
    return len(rates) > 2 and max(rates[-2:]) < GAIN * max(rates[:-2])


def _try_size(
    size: int, forward: Callable[[int], None], memory: MemoryMeter, clock: Callable[[], float]
) -> Trial | None:
    """Time a batch; None where the device has no room for it. The first run, which tunes kernels, is not."""
    try:
        peak_bytes = memory.peak_of(lambda: forward(size))
        seconds = []
        for _ in range(_ROUNDS):
            started = clock()
            forward(size)  # answers are arrays on the CPU, so that the device has finished
            seconds.append(clock() - started)
    except RuntimeError as error:  # torch.OutOfMemoryError is one; on Apple's GPUs it is a plain one
        if "out of memory" not in str(error):
            raise
        return None
    return Trial(size, sorted(seconds)[_ROUNDS // 2], peak_bytes)
