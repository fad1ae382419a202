"""From marks of many clips to the table: one number per question, and how sure a difference is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from groundstream.pipeline.evaluation.measure import CLEAN, Marks
from groundstream.pipeline.evaluation.metrics import Hits, average_precision

#: resamples of a bootstrap.
RESAMPLES = 400


class Interval(NamedTuple):
    """A difference and its 95 % interval."""

    mean: float
    low: float
    high: float


def precision(marks: Iterable[Marks], phrases: str = "all") -> float:
    """Return AP50 in percent over `marks`; phrases are "all", "known" or "held_out"."""
    return average_precision(Hits.join(part for each in marks for part in _hits(each, phrases)))


def _hits(marks: Marks, phrases: str) -> list[Hits]:
    both = {"known": [marks.known], "held_out": [marks.held_out], "all": [marks.known, marks.held_out]}
    return both[phrases]


def summarise(marks: Sequence[Marks]) -> dict[str, float]:
    """Return the numbers of one variant, by name.

    AP50 of spoiled frames (all; of held-out phrases; by motion; by kind), AP50 of clean clips, ghosts in
    percent of reported boxes, score change of a track from frame to frame in hundredths, lag in milliseconds.
    """
    spoiled = [each for each in marks if each.kind != CLEAN]
    numbers = {
        "spoiled": precision(spoiled),
        "held out": precision(spoiled, "held_out"),
        "clean": precision(each for each in marks if each.kind == CLEAN),
    }
    for motion in ("static", "slow", "fast"):
        numbers[motion] = precision(each for each in spoiled if each.motion == motion)
    for kind in sorted({each.kind for each in spoiled}):
        numbers[kind] = precision(each for each in spoiled if each.kind == kind)
    ghosts, reported = np.array([each.ghosts for each in spoiled]).sum(0)
    change, pairs = np.array([each.flicker for each in spoiled]).sum(0)
    lags = [lag for each in spoiled for lag in each.lags_s]
    numbers["ghosts"] = 100 * float(ghosts) / max(1, int(reported))
    numbers["score change"] = 100 * float(change) / max(1, int(pairs))
    numbers["lag"] = 1000 * float(np.mean(lags)) if lags else float("nan")
    return {name: value for name, value in numbers.items() if not np.isnan(value)}


def difference(
    ours: Sequence[Marks],
    theirs: Sequence[Marks],
    number: Callable[[Sequence[Marks]], float],
    seed: int = 0,
) -> Interval:
    """Return ours minus theirs with a paired bootstrap over clips (all versions of a clip go together).

    NaN where one of the two is.

    Args:
        ours, theirs: marks of the same clips.
        number: what is compared, such as `precision`.
        seed: of the resampling.
    """
    if np.isnan(number(ours)) or np.isnan(number(theirs)):
        return Interval(float("nan"), float("nan"), float("nan"))
    clips = sorted({each.clip for each in ours})
    mine = [[each for each in ours if each.clip == clip] for clip in clips]
    other = [[each for each in theirs if each.clip == clip] for clip in clips]
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(clips), size=len(clips))
        values = [number([each for row in drawn for each in group[row]]) for group in (mine, other)]
        differences.append(values[0] - values[1])
    low, high = np.nanpercentile(differences, [2.5, 97.5])
    return Interval(number(ours) - number(theirs), float(low), float(high))
