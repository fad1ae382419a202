"""The temporal benchmark: clips, corruptions, variants; and from marks of many clips to the table.

Every clip is shown clean and spoiled to every variant; the table has one number per question, and says how
sure a difference is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from groundstream.models.adaptation.clips import HELD_OUT, Clip, cut, read_video
from groundstream.models.adaptation.features import frozen_features
from groundstream.models.adaptation.spoil import KINDS, Spoiled, spoil
from groundstream.models.base import Grounder
from groundstream.models.nano.config import COCO_NAMES
from groundstream.models.types import Prompt
from groundstream.pipeline.evaluation.measure import CLEAN, Asked, Marks, Variant, answer, mark
from groundstream.pipeline.evaluation.metrics import Hits, average_precision
from groundstream.pipeline.evaluation.tracks import TrackBook
from groundstream.pipeline.evaluation.truth import with_model_truth

#: frames of a real clip; at 10 frames a second two seconds.
REAL_FRAMES = 20
#: candidates below this part of the model's own floor are not judged; a run has its floor itself.
FLOOR_RATIO = 0.75
FRAMEWISE = Variant("none")
#: resamples of a bootstrap.
RESAMPLES = 400


@dataclass(frozen=True, eq=False)
class Benchmark:
    """What is asked of which model.

    Attributes:
        grounder: frozen.
        prompt: the phrases; their numbers are the classes.
        held_out: phrases that adapter training did not ask for, judged apart too.
        kinds: the corruptions.
        versions: in how many of them, one after the other, each clip is shown; it is shown clean too.
    """

    grounder: Grounder
    prompt: Prompt
    held_out: frozenset[str] = frozenset()
    kinds: tuple[str, ...] = tuple(KINDS)
    versions: int = 4

    @classmethod
    def of_classes(cls, grounder: Grounder) -> Benchmark:
        """Ask for the 80 class names, of which `HELD_OUT` are judged apart."""
        return cls(grounder, Prompt(COCO_NAMES), HELD_OUT)

    def asked(self) -> Asked:
        """Encode the prompt."""
        grounder, phrases = self.grounder, self.prompt.phrases
        query = grounder.encode_text(grounder.split_prompt(self.prompt))
        apart = frozenset(number for number, phrase in enumerate(phrases) if phrase in self.held_out)
        return Asked(query, tuple(range(len(phrases))), apart, FLOOR_RATIO * grounder.preset.floor)

    def real(self, path: Path, start_s: float = 0.0) -> Iterator[Clip]:
        """Cut a video, from `start_s` on, into clips whose truth is what the frozen model says of them."""
        pictures, times_s = read_video(path, self.grounder.size_rule, start_s=start_s)
        yield from self.with_truth(cut(path.stem, pictures, times_s, REAL_FRAMES))

    def with_truth(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Give real clips the truth that the frozen model's answers to their clean frames make."""
        asked = self.asked()
        for clip in clips:
            features = frozen_features(self.grounder, clip.frames)
            answers = answer(self.grounder, FRAMEWISE, features, clip.times_s, asked)
            yield with_model_truth(clip, answers, self.grounder.preset)

    def run(
        self,
        clips: Iterable[Clip],
        variants: Sequence[Variant],
        seed: int = 0,
        on_clip: Callable[[int], None] = lambda number: None,
    ) -> Outcome:
        """Show every clip, clean and spoiled in some kinds, to every variant."""
        asked = self.asked()
        marks: dict[str, list[Marks]] = {variant.name: [] for variant in variants}
        books = {variant.name: TrackBook(self.prompt, self.grounder.preset) for variant in variants}
        for number, clip in enumerate(clips):
            shown: list[Clip | Spoiled] = [
                clip,
                *(spoil(clip, kind, seed) for kind in self._kinds_of(number)),
            ]
            for version in shown:
                self._one(number, version, variants, asked, marks, books)
            on_clip(number + 1)
        return Outcome(marks, {name: book.numbers() for name, book in books.items()})

    def _kinds_of(self, number: int) -> list[str]:
        first = number * self.versions
        return [self.kinds[(first + turn) % len(self.kinds)] for turn in range(self.versions)]

    def _one(
        self,
        number: int,
        shown: Clip | Spoiled,
        variants: Sequence[Variant],
        asked: Asked,
        marks: dict[str, list[Marks]],
        books: dict[str, TrackBook],
    ) -> None:
        clip = shown if isinstance(shown, Clip) else shown.clip
        features = frozen_features(self.grounder, clip.frames)
        for variant in variants:
            with torch.inference_mode():
                answers = answer(self.grounder, variant, features, clip.times_s, asked)
            marks[variant.name].append(mark(number, shown, answers, asked, self.grounder.preset.score))
            if isinstance(shown, Spoiled):
                books[variant.name].add(clip, answers)


#: what `Outcome.gains` can be asked for.
QUESTIONS = ("spoiled", "held out", "static", "slow", "fast", CLEAN)


def _belongs(marks: Marks, question: str) -> bool:
    """Whether a clip counts for a question of `QUESTIONS`."""
    if question == CLEAN:
        return marks.kind == CLEAN
    return marks.kind != CLEAN and question in ("spoiled", "held out", marks.motion)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a benchmark gives.

    Attributes:
        marks: per variant, of all clips.
        tracks: per variant HOTA, IDF1 and switches of the spoiled clips.
    """

    marks: dict[str, list[Marks]]
    tracks: dict[str, dict[str, float]]

    def table(self) -> dict[str, dict[str, float]]:
        """Return all numbers per variant."""
        return {name: summarise(marks) | self.tracks[name] for name, marks in self.marks.items()}

    def gains(self, question: str = "spoiled", against: str = "none") -> dict[str, Interval]:
        """Return, per other variant, the difference in AP50 with its 95 % interval; NaN where nothing counts.

        Args:
            question: `spoiled` frames, `clean` clips, `held out` phrases, or a motion.
            against: the variant that the others are compared with.
        """
        phrases = "held_out" if question == "held out" else "all"
        chosen = {
            name: [each for each in marks if _belongs(each, question)] for name, marks in self.marks.items()
        }
        return {
            name: difference(marks, chosen[against], lambda some: precision(some, phrases))
            for name, marks in chosen.items()
            if name != against
        }


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
