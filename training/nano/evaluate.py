"""How well a grounder finds phrases in generated scenes of which every answer is known.

    python -m training.nano.evaluate FOLDER/bank --split unseen-style --scenes 300

Every scene asks about 20 phrases, most of which fit nothing. Average precision is pooled over all of them: a
box of an absent phrase counts against it. The same scenes, in the same order, on every machine.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import supervision as sv
import torch
from numpy.typing import NDArray

from groundstream.models.base import Grounder
from groundstream.models.registry import load_grounder
from groundstream.models.types import Prompt, RawDetections
from training.scenes.bank import SPLITS, TRAINING_STYLES, Bank
from training.scenes.captions import SIZES
from training.scenes.colors import COLORS
from training.scenes.generator import SceneConfig, SceneGenerator, SceneSample
from training.scenes.vocabulary import Vocabulary

IOUS = tuple(np.arange(0.5, 0.96, 0.05).round(2).tolist())
#: sides of things in pixels: below the first small, from the second on large.
SMALL_PX, LARGE_PX = 40, 120
#: boxes below this score are not looked at.
FLOOR = 0.01


@dataclass
class Tally:
    """What is counted for one group of phrases.

    Attributes:
        scores: of all boxes.
        right: (boxes, IoUs) whether each box is right at each overlap.
        wanted: boxes that should be found.
        absent: phrases that fit nothing.
        false: boxes of absent phrases at the model's own threshold.
    """

    scores: list[NDArray[np.float32]] = field(default_factory=list)
    right: list[NDArray[np.bool_]] = field(default_factory=list)
    wanted: int = 0
    absent: int = 0
    false: int = 0

    def summary(self, threshold: float) -> dict[str, float]:
        """Return AP50, AP50:95, recall and precision at `threshold`, false boxes per 20 absent phrases."""
        scores = np.concatenate([*self.scores, np.zeros(0, np.float32)])
        right = np.concatenate([*self.right, np.zeros((0, len(IOUS)), bool)])
        precisions = [average_precision(scores, right[:, column], self.wanted) for column in range(len(IOUS))]
        sure = scores >= threshold
        return {
            "wanted": self.wanted,
            "AP50": round(precisions[0], 4),
            "AP50:95": round(float(np.mean(precisions)), 4),
            "recall": round(float(right[sure, 0].sum()) / max(self.wanted, 1), 4),
            "precision": round(float(right[sure, 0].mean()) if sure.any() else 0.0, 4),
            "false_per_20": round(20 * self.false / max(self.absent, 1), 4),
        }


@dataclass(frozen=True)
class Report:
    """The figures of one split: per group of phrases, per size of things, the calibration, the confusions.

    `calibration` has per tenth of the score: boxes, and the part of them that is right. `confusions` are
    (phrase, what the box showed, how often), for boxes of absent phrases.
    """

    groups: dict[str, dict[str, float]]
    recall_by_size: dict[str, float]
    calibration: list[tuple[float, int, float]]
    confusions: list[tuple[str, str, int]]


def average_precision(scores: NDArray[np.float32], right: NDArray[np.bool_], wanted: int) -> float:
    """Return the area under the precision envelope, read at 101 recalls, as COCO does."""
    if not wanted or not len(scores):
        return 0.0
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    places = np.searchsorted(hits / wanted, np.linspace(0, 1, 101))
    return float(np.append(precision, 0.0)[np.minimum(places, len(precision))].mean())


def match(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], truth: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return (N, IoUs) which true box each box takes, best score first, each once; -1 for none."""
    taken = np.full((len(boxes), len(IOUS)), -1, np.int64)
    if not len(truth):
        return taken
    overlap = sv.box_iou_batch(boxes, truth)
    for column, iou in enumerate(IOUS):
        free = np.ones(len(truth), bool)
        for row in np.argsort(-scores, kind="stable"):
            best = int(np.argmax(np.where(free, overlap[row], -1)))
            if free[best] and overlap[row, best] >= iou:
                taken[row, column], free[best] = best, False
    return taken


def kind_of(phrase: str, vocabulary: Vocabulary) -> str:
    """Return "name", "synonym" or "kind", or "described" where the phrase has a colour or a size."""
    words = [word for word in phrase.split() if word not in ("a", "an", "the")]
    described = {*COLORS, "grey", *(word for words in SIZES.values() for word in words)}
    if len(words) > 1 and words[0] in described:
        return "described"
    noun = " ".join(words)
    kinds = {kind for name in vocabulary.concepts for kind in vocabulary.kinds(name)}
    for name, concept in vocabulary.concepts.items():
        if noun in (concept.name, f"{concept.name}s"):
            return "kind" if name in kinds else "name"
    return "synonym"


def evaluate(
    grounder: Grounder, samples: Iterator[SceneSample], vocabulary: Vocabulary, threshold: float
) -> Report:
    """Ask `grounder` every question of `samples`; `threshold` is the score from which on a box counts."""
    groups: dict[str, Tally] = {"all": Tally()}
    sizes: Counter[tuple[str, bool]] = Counter()
    confusions: Counter[tuple[str, str]] = Counter()
    for sample in samples:
        raw = ask(grounder, sample.picture, sample.phrases)
        for column, phrase in enumerate(sample.phrases):
            tallies = [groups["all"], groups.setdefault(kind_of(phrase, vocabulary), Tally())]
            rows = np.flatnonzero(raw.phrase_scores[:, column] >= FLOOR)
            boxes, scores = raw.boxes_model[rows], raw.phrase_scores[rows, column]
            things = np.flatnonzero(sample.truth[column])
            taken = match(boxes, scores, sample.boxes[things])
            _count(tallies, scores, taken >= 0, len(things), threshold)
            found = set(things[taken[(scores >= threshold) & (taken[:, 0] >= 0), 0]].tolist())
            sizes.update((_size(sample.boxes[thing]), thing in found) for thing in things.tolist())
            if not len(things):
                shown = _shown(boxes[scores >= threshold], sample)
                confusions.update((phrase, name) for name in shown)
    every = groups["all"]
    scores = np.concatenate([*every.scores, np.zeros(0, np.float32)])
    right = np.concatenate([*every.right, np.zeros((0, len(IOUS)), bool)])[:, 0]
    return Report(
        {name: tally.summary(threshold) for name, tally in sorted(groups.items())},
        {
            size: round(sizes[size, True] / max(sizes[size, True] + sizes[size, False], 1), 4)
            for size in ("small", "medium", "large")
        },
        calibration(scores, right),
        [(phrase, name, count) for (phrase, name), count in confusions.most_common(25)],
    )


def calibration(scores: NDArray[np.float32], right: NDArray[np.bool_]) -> list[tuple[float, int, float]]:
    """Return per tenth of the score its lower end, how many boxes have it, and the part that is right."""
    tenths = np.minimum((scores * 10).astype(int), 9)
    return [
        (n / 10, int((tenths == n).sum()), round(float(right[tenths == n].mean()), 4))
        for n in range(10)
        if (tenths == n).any()
    ]


def ask(grounder: Grounder, picture: NDArray[np.uint8], phrases: Sequence[str]) -> RawDetections:
    """Return what `grounder` finds in a square picture of its own size."""
    pixels = torch.from_numpy(picture)[None]
    text = grounder.encode_text([Prompt.of(phrases)])
    return grounder.detect(pixels, torch.tensor([picture.shape[:2]]), [text], FLOOR)[0]


def _count(
    tallies: Sequence[Tally],
    scores: NDArray[np.float32],
    right: NDArray[np.bool_],
    wanted: int,
    threshold: float,
) -> None:
    for tally in tallies:
        tally.scores.append(scores)
        tally.right.append(right)
        tally.wanted += wanted
        tally.absent += not wanted
        tally.false += 0 if wanted else int((scores >= threshold).sum())


def _shown(boxes: NDArray[np.float32], sample: SceneSample) -> list[str]:
    """Name what each box shows, "background" where it covers no thing."""
    overlap = sv.box_iou_batch(boxes, sample.boxes)
    best = overlap.argmax(1) if overlap.size else np.zeros(len(boxes), int)
    return [
        sample.objects[thing].concept if overlap.size and overlap[row, thing] >= 0.5 else "background"
        for row, thing in enumerate(best)
    ]


def _size(box: NDArray[np.float32]) -> str:
    side = float(np.sqrt(np.prod(box[2:] - box[:2])))
    return "small" if side < SMALL_PX else "large" if side >= LARGE_PX else "medium"


def main() -> None:
    """Print the figures of one split as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bank", type=Path)
    parser.add_argument("--split", choices=sorted(SPLITS), default="unseen-compositions")
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--model", default="glip-nano")
    options = parser.parse_args()
    vocabulary, split = Vocabulary.read(), SPLITS[options.split]
    # Styles that were never trained on are shown as they are.
    restyle = SceneConfig.restyle if split.styles & TRAINING_STYLES else 0.0
    config = SceneConfig(seed=1000, restyle=restyle)
    scenes = SceneGenerator(Bank.open(options.bank), vocabulary, split, config)
    grounder = load_grounder(options.model, device="cpu")
    report = evaluate(
        grounder, (scenes.sample(n) for n in range(options.scenes)), vocabulary, grounder.preset.score
    )
    print(json.dumps(asdict(report), indent=1))


if __name__ == "__main__":
    main()
