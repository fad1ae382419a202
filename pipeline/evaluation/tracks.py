"""Tracking quality of a variant's answers, through the pipeline's own association and tracker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import supervision as sv
from numpy.typing import NDArray
from trackers.eval import (
    aggregate_clear_metrics,
    aggregate_hota_metrics,
    aggregate_identity_metrics,
    compute_clear_metrics,
    compute_hota_metrics,
    compute_identity_metrics,
)

from groundstream.models.adaptation.clips import Clip, FrameTruth
from groundstream.models.types import PicturePlan, Preset, Prompt, RawDetections
from groundstream.operators.frames import to_detections
from groundstream.operators.tracking import PhraseMemory, PhraseRule, PhraseTracker, Tracker
from groundstream.pipeline.evaluation.metrics import IOU

#: as in a run: a phrase leaves a track at this part of the score at which it entered.
LEAVE_RATIO = 0.5


class TrackBook:
    """Gathers the tracks of many clips; HOTA, IDF1, identity switches and the scores' flicker come out.

    Args:
        prompt: the asked phrases, in the order of the answers' columns.
        preset: the numbers of the model's score scale.
    """

    def __init__(self, prompt: Prompt, preset: Preset) -> None:
        self._prompt, self._preset = prompt, preset
        self._hota: list[dict[str, Any]] = []
        self._identity: list[dict[str, Any]] = []
        self._clear: list[dict[str, Any]] = []
        self._changes: list[float] = []

    def add(self, clip: Clip, answers: Sequence[RawDetections]) -> None:
        """Track a clip's answers and compare the confirmed tracks with the truth."""
        tracker = self._tracker()
        height, width = clip.frames.shape[1:3]
        plan = PicturePlan((height, width), (height, width), (height, width))
        rows = []
        before: dict[int, float] = {}
        for frame, time_s, truth, raw in zip(clip.frames, clip.times_s, clip.truth, answers, strict=True):
            objects = tracker.update(
                raw,
                plan,
                self._prompt,
                epoch=1,
                time_s=float(time_s),
                frame_bgr=lambda frame=frame: np.ascontiguousarray(frame[..., ::-1]),  # type: ignore[misc]
            )
            found = to_detections(objects, len(self._prompt.phrases))
            rows.append(_frame(found, truth))
            scores = _scores(found)
            self._changes += [
                abs(score - before[number]) for number, score in scores.items() if number in before
            ]
            before = scores
        if not any(len(truth) for truth, _, _ in rows):
            return
        truths, ids, overlaps = (list(part) for part in zip(*rows, strict=True))
        self._hota.append(compute_hota_metrics(truths, ids, overlaps))
        self._identity.append(compute_identity_metrics(truths, ids, overlaps))
        self._clear.append(compute_clear_metrics(truths, ids, overlaps))

    def numbers(self) -> dict[str, float]:
        """Return HOTA and IDF1 in percent, identity switches per clip, and a track's mean score change.

        The last is what the records show, from frame to frame, in hundredths: scores that the pipeline has
        smoothed, of tracks that it holds on to while they are not seen.
        """
        return {
            "HOTA": 100 * float(aggregate_hota_metrics(self._hota)["HOTA"]),
            "IDF1": 100 * float(aggregate_identity_metrics(self._identity)["IDF1"]),
            "switches": float(aggregate_clear_metrics(self._clear)["IDSW"]) / max(1, len(self._clear)),
            "record change": 100 * float(np.mean(self._changes)) if self._changes else 0.0,
        }

    def _tracker(self) -> PhraseTracker:
        score = self._preset.score
        memory = PhraseMemory(self._prompt, PhraseRule(score, LEAVE_RATIO * score))
        tracker = Tracker("bytetrack", start_score=score, frame_rate=10)
        return PhraseTracker("clip", tracker, memory, score=score, overlap_iou=self._preset.overlap_iou)


def _scores(found: sv.Detections) -> dict[int, float]:
    """Return the score of each track by its number."""
    assert found.confidence is not None
    assert found.tracker_id is not None
    pairs = zip(found.tracker_id.tolist(), found.confidence.tolist(), strict=True)
    return {number: score for number, score in pairs if number > 0}


def _frame(
    found: sv.Detections, truth: FrameTruth
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return true ids, track ids and their overlaps; tracks on what does not count are left out."""
    confirmed = np.asarray(found.data["state"]) == "confirmed"
    boxes, ids = found.xyxy[confirmed], np.asarray(found.tracker_id, np.int64)[confirmed]
    counted, others = truth.boxes[truth.counts], truth.boxes[~truth.counts]
    if len(boxes) and len(others):
        on_other = sv.box_iou_batch(boxes, others).max(1) >= IOU
        near = sv.box_iou_batch(boxes, counted).max(1, initial=0) if len(counted) else np.zeros(len(boxes))
        kept = ~on_other | (near >= IOU)
        boxes, ids = boxes[kept], ids[kept]
    overlaps = np.zeros((len(counted), len(boxes)), np.float32)
    if overlaps.size:
        overlaps = sv.box_iou_batch(counted, boxes)
    return truth.ids[truth.counts], ids, overlaps
