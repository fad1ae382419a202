"""Which phrase a track answers to, without flicker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundstream.models.types import Prompt
from groundstream.operators.tracking.options import LIFE_S, SMOOTH_S


@dataclass(frozen=True)
class PhraseRule:
    """When a phrase holds for a track.

    Attributes:
        enter: a phrase begins to hold when its smoothed score reaches this (0..1).
        leave: it ceases to hold when its smoothed score falls below this.
        smooth_s: time constant of the exponential mean, in seconds.
        life_s: a track keeps its phrase at least this long before a better one takes over, in seconds.
    """

    enter: float
    leave: float
    smooth_s: float = SMOOTH_S
    life_s: float = LIFE_S

    def __post_init__(self) -> None:
        if not 0 <= self.leave <= self.enter <= 1:
            raise ValueError(
                f"expected 0 <= leave <= enter <= 1, but got leave={self.leave}, enter={self.enter}"
            )
        if self.smooth_s < 0 or self.life_s < 0:
            raise ValueError(f"expected seconds of at least 0, but got {self.smooth_s} and {self.life_s}")


@dataclass
class TrackPhrases:
    """The phrases of one track.

    Attributes:
        scores: (P,) float32 smoothed score of every phrase of the prompt; NaN where never asked.
        holds: (P,) bool, which phrases hold now.
        label: index of the phrase that the track goes by; -1 when none holds.
        first_s: media time when the track was first seen.
    """

    scores: NDArray[np.float32]
    holds: NDArray[np.bool_]
    label: int
    label_since_s: float
    first_s: float
    last_s: float

    @property
    def score(self) -> float:
        """Smoothed score of the phrase that the track goes by; 0 when none holds."""
        return float(self.scores[self.label]) if self.label >= 0 else 0.0


class PhraseMemory:
    """Scores of all phrases for every track of one stream, smoothed in seconds of the media clock.

    A track's phrase follows the evidence (it is not frozen at the first label), but with hysteresis: it
    enters and leaves at different scores, and it lives at least `life_s`. Tracks survive a change of the
    prompt: phrases that stay keep their scores.
    """

    def __init__(self, prompt: Prompt, rule: PhraseRule) -> None:
        self._prompt, self._rule = prompt, rule
        self._tracks: dict[int, TrackPhrases] = {}

    def __len__(self) -> int:
        return len(self._tracks)

    def set_prompt(self, prompt: Prompt) -> None:
        """Ask other phrases from now on."""
        if prompt.phrases == self._prompt.phrases:
            self._prompt = prompt
            return
        old = {phrase.casefold(): column for column, phrase in enumerate(self._prompt.phrases)}
        columns = np.array([old.get(phrase.casefold(), -1) for phrase in prompt.phrases])
        for track in self._tracks.values():
            _move_columns(track, columns)
        self._prompt = prompt

    def observe(self, track_id: int, scores: NDArray[np.float32], time_s: float) -> TrackPhrases:
        """Add what was seen of a track: (P,) scores of all phrases at `time_s`; return its phrases."""
        track = self._tracks.get(track_id)
        if track is None:
            count = len(self._prompt.phrases)
            never, none = np.full(count, np.nan, np.float32), np.zeros(count, bool)
            track = self._tracks[track_id] = TrackPhrases(never, none, -1, time_s, time_s, time_s)
        weight = self._weight(time_s - track.last_s)
        smoothed = track.scores + weight * (scores - track.scores)
        # The first score of a phrase counts whole: a mean that starts at 0 would be late for every track.
        track.scores = np.where(np.isnan(track.scores), scores, smoothed).astype(np.float32)
        track.last_s = max(track.last_s, time_s)
        # Two scores, one to enter and a lower one to leave: a score that wavers at one limit would flicker.
        track.holds = np.where(
            track.holds, track.scores >= self._rule.leave, track.scores >= self._rule.enter
        )
        self._choose(track, time_s)
        return track

    def get(self, track_id: int) -> TrackPhrases | None:
        """Return the phrases of a track, or None when it was never observed."""
        return self._tracks.get(track_id)

    def keep_only(self, alive: Iterable[int]) -> None:
        """Forget all tracks but those in `alive`."""
        keep = set(alive)
        for track_id in [track_id for track_id in self._tracks if track_id not in keep]:
            del self._tracks[track_id]

    def _weight(self, elapsed_s: float) -> float:
        """Weight of a new observation: 1 - exp(-dt / smooth_s), so that it does not depend on frame rate."""
        if self._rule.smooth_s == 0:
            return 1.0
        return float(-np.expm1(-max(0.0, elapsed_s) / self._rule.smooth_s))

    def _choose(self, track: TrackPhrases, time_s: float) -> None:
        if not track.holds.any():
            track.label = -1
            return
        best = int(np.argmax(np.where(track.holds, track.scores, -1.0)))
        if track.label >= 0 and track.holds[track.label]:
            young = time_s - track.label_since_s < self._rule.life_s
            if young or track.scores[best] <= track.scores[track.label]:
                return
        track.label, track.label_since_s = best, time_s


def _move_columns(track: TrackPhrases, columns: NDArray[np.int64]) -> None:
    """Put the phrase in column `columns[i]` into column i; -1 is a phrase that was never asked."""
    known = columns >= 0
    track.scores = np.where(known, track.scores[columns], np.nan).astype(np.float32)
    track.holds = np.where(known, track.holds[columns], False)
    moved = np.flatnonzero(columns == track.label) if track.label >= 0 else np.array([], int)
    track.label = int(moved[0]) if len(moved) else -1
