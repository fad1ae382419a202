"""Boxes of one stream become tracks, on the clock of the media."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import supervision as sv
from numpy.typing import NDArray
from trackers import BoTSORTTracker, ByteTrackTracker, OCSORTTracker

from groundstream.operators.tracking.options import LOST_S, TrackerName

_START = 0.5  # where the library's score threshold lies, after our scores are brought to its scale
_TRACKER_FPS = 30.0  # unit of the library's lost-track buffer
_TINY_S = 1e-6


class _Algorithm(NamedTuple):
    """An algorithm of the library, the settings that are its own, and whether it looks at the frame."""

    build: Callable[..., ByteTrackTracker | OCSORTTracker | BoTSORTTracker]
    settings: dict[str, Any]
    needs_frame: bool = False


_HIGH = {"high_conf_det_threshold": _START}
_START_AND_HIGH = {"track_activation_threshold": _START, **_HIGH}
_ALGORITHMS: dict[TrackerName, _Algorithm] = {
    "bytetrack": _Algorithm(ByteTrackTracker, _START_AND_HIGH),
    "ocsort": _Algorithm(OCSORTTracker, _HIGH),
    "botsort": _Algorithm(
        BoTSORTTracker, {**_START_AND_HIGH, "instant_first_frame_activation": False}, needs_frame=True
    ),
}


class Tracked(NamedTuple):
    """What the tracker says of one frame.

    `ids` is (N,) int64, one per given box: the track's number from 1 on, or 0 while the box belongs to no
    confirmed track. `lost_ids` (M,) and `lost_boxes` (M, 4) are confirmed tracks that no box matched, where
    their motion puts them now. `alive` holds the ids of all confirmed tracks.
    """

    ids: NDArray[np.int64]
    lost_ids: NDArray[np.int64]
    lost_boxes: NDArray[np.float32]
    alive: frozenset[int]


class Tracker:
    """A tracker of the `trackers` library, fed with seconds instead of frame numbers.

    Scores are brought to one scale before they reach the library (the model's own start score becomes 0.5),
    because its defaults were made for closed-set detectors and never confirm an object of score 0.35.
    """

    def __init__(
        self,
        name: TrackerName,
        *,
        start_score: float,
        lost_s: float = LOST_S,
        frame_rate: float = 30.0,
        first_id: int = 1,
    ) -> None:
        """Build a tracker.

        Args:
            name: the algorithm.
            start_score: a box starts a track from this score on (0..1); weaker ones only keep tracks alive.
            lost_s: a track that no box matches is given up after this many seconds.
            frame_rate: frames per second that the motion model takes as its unit step.
            first_id: number of the first track, where a stream goes on that had tracks before.
        """
        if not 0 < start_score <= 1:
            raise ValueError(f"expected a start score above 0 and up to 1, but got {start_score}")
        if lost_s < 0:
            raise ValueError(f"expected lost_s of at least 0 seconds, but got {lost_s}")
        if name not in _ALGORITHMS:
            raise ValueError(f"expected a tracker of {', '.join(_ALGORITHMS)}, but got {name!r}")
        algorithm = _ALGORITHMS[name]
        self.needs_frame = algorithm.needs_frame
        self._start_score, self._first_id = start_score, first_id
        self._tracker = algorithm.build(
            lost_track_buffer=round(lost_s * _TRACKER_FPS),
            frame_rate=frame_rate,
            minimum_consecutive_frames=2,
            **algorithm.settings,
        )
        self._last_s = -np.inf

    def update(
        self,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        time_s: float,
        frame_bgr: NDArray[np.uint8] | None = None,
    ) -> Tracked:
        """Match (N, 4) xyxy `boxes` with (N,) `scores` of the frame at `time_s` to the tracks.

        `frame_bgr`, (H, W, 3) uint8, is used by trackers that compensate camera motion (`needs_frame`).
        """
        time_s = max(time_s, self._last_s + _TINY_S)  # the library skips frames whose clock stands still
        self._last_s = time_s
        count = len(boxes)
        given = sv.Detections(
            xyxy=boxes,
            confidence=np.minimum(1.0, scores * (_START / self._start_score)),
            class_id=np.arange(count),  # carries each box's row through the library's reordering
        )
        seen = self._tracker.update(given, frame_bgr if self.needs_frame else None, timestamp=time_s)
        ids = np.zeros(count, np.int64)
        if len(seen):
            ids[seen.class_id] = np.asarray(seen.tracker_id) + self._first_id
        everyone = self._tracker.tracked_objects
        alive = np.asarray(everyone.tracker_id, np.int64) + self._first_id
        lost = ~np.isin(alive, ids)
        return Tracked(ids, alive[lost], everyone.xyxy[lost].astype(np.float32), frozenset(alive.tolist()))

    def reset(self) -> None:
        """Forget all tracks; numbers start again at 1."""
        self._tracker.reset()
        self._first_id = 1
        self._last_s = -np.inf
