"""What was seen when: a stream's recent objects, and where they were between two observations."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from groundstream.operators.frames import FrameResult, SeenObject

#: Two times that differ by less are one: sums of seconds in floats are not exact, and a file that counts in
#: 1/90000 s (11 microseconds) has rounded them.
SAME_S = 2e-5
#: Where a track was between two sightings that are further apart is not known.
LONGEST_GAP_S = 2.0


@dataclass(frozen=True)
class Observation:
    """What the detector found in one frame.

    Attributes:
        epoch: of the frame.
        time_s: media clock of the frame, in seconds.
        objects: what was found, boxes in parts of the picture; may be empty.
    """

    epoch: int
    time_s: float
    objects: tuple[SeenObject, ...] = ()


def observation_of(result: FrameResult) -> Observation | None:
    """Return what was found in the frame of `result`; None where the detector gave no answer.

    Lost objects are left out: their boxes are the tracker's guess, and a clip, which knows what came later,
    interpolates instead.
    """
    if result.stale:
        return None
    frame = result.frame
    width, height = frame.width, frame.height
    objects = tuple(
        # Without the scores of all phrases: a timeline holds a hundred thousand objects.
        SeenObject(
            seen.track_id,
            seen.phrase,
            # A model that overflows gives scores that are none; JSON has no word for them.
            seen.score if isfinite(seen.score) else 0.0,
            (seen.box[0] / width, seen.box[1] / height, seen.box[2] / width, seen.box[3] / height),
            seen.state,
        )
        for seen in result.objects
        if seen.state != "lost" and all(map(isfinite, seen.box))
    )
    return Observation(frame.epoch, frame.time_s, objects)


class Timeline:
    """The observations of the last seconds of one stream, bounded by time and by number of objects."""

    def __init__(self, keep_s: float, most_objects: int = 100_000) -> None:
        """Build an empty timeline.

        Args:
            keep_s: observations older than the newest by more are forgotten.
            most_objects: so many objects (an empty observation counts as one) are kept at most.
        """
        self._keep_s, self._most_objects = keep_s, most_objects
        self._observations: deque[Observation] = deque()
        self._objects = 0
        #: Observations that were forgotten before their time because there were too many objects.
        self.forgotten_early = 0

    def __len__(self) -> int:
        return len(self._observations)

    def add(self, observation: Observation) -> None:
        """Remember `observation`, the newest of its epoch; a new epoch forgets the one before."""
        if self._observations and self._observations[-1].epoch != observation.epoch:
            self._observations.clear()
            self._objects = 0
        self._observations.append(observation)
        self._objects += _weight(observation)
        while self._observations[0].time_s < observation.time_s - self._keep_s:
            self._objects -= _weight(self._observations.popleft())
        while self._objects > self._most_objects and len(self._observations) > 1:
            self._objects -= _weight(self._observations.popleft())
            self.forgotten_early += 1

    def slice(self, start_s: float, end_s: float) -> tuple[Observation, ...]:
        """Return the observations of the newest epoch with `start_s <= time_s <= end_s`, in seconds."""
        return tuple(
            observation
            for observation in self._observations
            if start_s - SAME_S <= observation.time_s <= end_s + SAME_S
        )


def _weight(observation: Observation) -> int:
    return max(1, len(observation.objects))


class Tracks:
    """Observations turned round: for each track its sightings, and from them its box at any moment."""

    def __init__(self, observations: Iterable[Observation], longest_gap_s: float = LONGEST_GAP_S) -> None:
        """Sort `observations`, which may come in any order and twice; all belong to one epoch.

        Args:
            observations: what was found.
            longest_gap_s: over a longer gap between two sightings nothing is interpolated.
        """
        self._longest_gap_s = longest_gap_s
        unique = {round(observation.time_s / SAME_S): observation for observation in observations}
        self._observations = tuple(unique[key] for key in sorted(unique))
        self._times = [observation.time_s for observation in self._observations]
        self._tracks: dict[str, _Track] = {}
        for observation in self._observations:
            for seen in observation.objects:
                if seen.track_id:
                    self._tracks.setdefault(seen.track_id, _Track()).add(observation.time_s, seen)

    @property
    def observations(self) -> Sequence[Observation]:
        """The observations, in the order of their times, each once."""
        return self._observations

    def at(self, time_s: float) -> tuple[SeenObject, ...]:
        """Return the objects at `time_s`: as they were seen there, else between two sightings.

        Boxes move linearly. An object without a track is only shown where it was seen.
        """
        untracked = tuple(seen for seen in self._observed_at(time_s) if not seen.track_id)
        tracked = (track.at(time_s, self._longest_gap_s) for track in self._tracks.values())
        return untracked + tuple(seen for seen in tracked if seen is not None)

    def best_s(self, start_s: float, end_s: float) -> float | None:
        """Return the time of the highest score within `[start_s, end_s]`; None where nothing was seen."""
        scored = [(seen.score, -time_s, time_s) for time_s, seen in self._within(start_s, end_s)]
        return max(scored)[2] if scored else None

    def phrases(self) -> tuple[str, ...]:
        """Return the phrases that were seen, each once, in the order of their first appearance."""
        return tuple(
            dict.fromkeys(seen.phrase for observation in self._observations for seen in observation.objects)
        )

    def _observed_at(self, time_s: float) -> tuple[SeenObject, ...]:
        at = bisect_left(self._times, time_s - SAME_S)
        if at < len(self._times) and self._times[at] <= time_s + SAME_S:
            return self._observations[at].objects
        return ()

    def _within(self, start_s: float, end_s: float) -> Iterator[tuple[float, SeenObject]]:
        first, last = bisect_left(self._times, start_s - SAME_S), bisect_right(self._times, end_s + SAME_S)
        for observation in self._observations[first:last]:
            for seen in observation.objects:
                yield observation.time_s, seen


class _Track:
    """The sightings of one track, in the order of their times."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._seen: list[SeenObject] = []

    def add(self, time_s: float, seen: SeenObject) -> None:
        self._times.append(time_s)
        self._seen.append(seen)

    def at(self, time_s: float, longest_gap_s: float) -> SeenObject | None:
        after = bisect_left(self._times, time_s - SAME_S)
        if after == len(self._times):
            return None
        if abs(self._times[after] - time_s) <= SAME_S:
            return self._seen[after]
        if after == 0 or self._times[after] - self._times[after - 1] > longest_gap_s:
            return None
        part = (time_s - self._times[after - 1]) / (self._times[after] - self._times[after - 1])
        return between(self._seen[after - 1], self._seen[after], part)


def between(first: SeenObject, second: SeenObject, part: float) -> SeenObject:
    """Return the object at `part` (0..1) of the way from `first` to `second`, sightings of one track.

    Box and score go in a straight line; the phrase is that of the nearer sighting.
    """
    boxes: NDArray[np.float64] = np.array([first.box, second.box])
    left, top, right, bottom = ((1 - part) * boxes[0] + part * boxes[1]).tolist()
    return SeenObject(
        track_id=first.track_id,
        phrase=(first if part < 0.5 else second).phrase,
        score=(1 - part) * first.score + part * second.score,
        box=(left, top, right, bottom),
        state="interpolated",
    )
