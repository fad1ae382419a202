"""Generated clips of the temporal benchmark: exact truth, of what the frozen model can see at all.

An adapter can only keep what the frozen model sees on clean frames; so the exact boxes of those objects count
that the model recognises when nothing is spoiled. `groundstream eval temporal --bank` reads this module, from
a checkout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import supervision as sv

from groundstream.models.adaptation.clips import Clip, FrameTruth
from groundstream.models.adaptation.features import frozen_features
from groundstream.models.types import RawDetections
from groundstream.pipeline.evaluation.benchmark import FRAMEWISE, Benchmark
from groundstream.pipeline.evaluation.measure import answer
from groundstream.pipeline.evaluation.metrics import IOU, track_scores
from training.scenes.bank import Bank
from training.temporal.clips import ClipGenerator

#: a generated object counts when its mean score on clean frames is at least the first; a clean candidate
#: that shows no object (there may be a car in the photograph behind) does not count from the second on.
RECOGNISED, IN_BACKGROUND = 0.3, 0.3


def generated_clips(bench: Benchmark, folder: Path, seeds: Sequence[int], count: int) -> Iterator[Clip]:
    """Make `count` test clips per seed with exact truth.

    Args:
        bench: asks for the class names, see `Benchmark.of_classes`.
        folder: the bank, see `training.data.fetch`.
        seeds: another seed shows other clips.
        count: clips per seed.

    Raises:
        ValueError: the bank cannot be read.
    """
    bank = Bank.open(folder)
    generators = [ClipGenerator(bank, "test", seed) for seed in seeds]
    clips = (generate(number) for generate in generators for number in range(count))
    return _recognised(bench, clips)


def _recognised(bench: Benchmark, clips: Iterable[Clip]) -> Iterator[Clip]:
    asked = bench.asked()
    for clip in clips:
        features = frozen_features(bench.grounder, clip.frames)
        answers = answer(bench.grounder, FRAMEWISE, features, clip.times_s, asked)
        yield with_recognised_truth(clip, answers)


def with_recognised_truth(clip: Clip, answers: Sequence[RawDetections]) -> Clip:
    """Return `clip` with only those of its objects counting that the model recognises in clean frames.

    Args:
        clip: a generated clip with exact truth.
        answers: per frame the candidates, one column per class.
    """
    lines = track_scores(answers, clip.truth, range(answers[0].phrase_scores.shape[1]))
    known = [track for track, line in lines.items() if np.nanmean(line) >= RECOGNISED]
    truth = []
    for raw, frame in zip(answers, clip.truth, strict=True):
        exact = frame._replace(counts=frame.counts & np.isin(frame.ids, known))
        truth.append(_with_background(exact, raw))
    return replace(clip, truth=tuple(truth))


def _with_background(truth: FrameTruth, raw: RawDetections) -> FrameTruth:
    classes, rows = (raw.phrase_scores.T >= IN_BACKGROUND).nonzero()
    boxes = raw.boxes_model[rows]
    extra = sv.box_iou_batch(boxes, truth.boxes).max(axis=1, initial=0) < IOU
    count = int(extra.sum())
    return FrameTruth(
        np.concatenate([truth.boxes, boxes[extra]]),
        np.concatenate([truth.classes, classes[extra]]),
        np.concatenate([truth.ids, np.zeros(count, np.int64)]),
        np.concatenate([truth.counts, np.zeros(count, bool)]),
    )
