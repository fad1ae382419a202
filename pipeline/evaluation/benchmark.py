"""The temporal benchmark: clips, corruptions, variants, table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from groundstream.models.base import Grounder
from groundstream.models.nano.config import COCO_NAMES
from training.scenes.bank import Bank
from groundstream.models.adaptation.clips import (
    HELD_OUT,
    Clip,
    ClipGenerator,
    ClipRecipe,
    cut,
    read_video,
)
from groundstream.pipeline.evaluation.measure import CLEAN, Asked, Marks, Variant, answer, mark
from groundstream.models.adaptation.features import frozen_features
from groundstream.pipeline.evaluation.report import Interval, difference, precision, summarise
from groundstream.models.adaptation.spoil import KINDS, Spoiled, spoil
from groundstream.pipeline.evaluation.truth import with_model_truth, with_recognised_truth
from groundstream.models.types import Prompt
from groundstream.pipeline.evaluation.tracks import TrackBook

#: frames of a real clip; at 10 frames a second two seconds.
REAL_FRAMES = 20
#: candidates below this part of the model's own floor are not judged; a run has its floor itself.
FLOOR_RATIO = 0.75
FRAMEWISE = Variant("none")


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

    def generated(
        self, bank: Bank, seed: int, count: int, recipe: ClipRecipe | None = None
    ) -> Iterator[Clip]:
        """Make test clips with exact truth; needs the class names as prompt."""
        generate, asked = ClipGenerator(bank, "test", seed, recipe), self.asked()
        for number in range(count):
            clip = generate(number)
            features = frozen_features(self.grounder, clip.frames)
            yield with_recognised_truth(clip, answer(self.grounder, FRAMEWISE, features, clip.times_s, asked))

    def real(
        self,
        path: Path,
        *,
        start_s: float = 0,
        end_s: float = float("inf"),
        every: int = 1,
        frames: int = REAL_FRAMES,
    ) -> Iterator[Clip]:
        """Cut a video into clips whose truth is what the frozen model says of them."""
        pictures, times_s = read_video(
            path, self.grounder.size_rule, start_s=start_s, end_s=end_s, every=every
        )
        yield from self.with_truth(cut(path.stem, pictures, times_s, frames))

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
