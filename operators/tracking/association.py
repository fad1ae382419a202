"""From a model's candidates to tracks that answer to phrases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import supervision as sv
from numpy.typing import NDArray

from groundstream.models.types import PicturePlan, Prompt, RawDetections
from groundstream.operators.tracking.overlap import merge_overlapping
from groundstream.operators.tracking.phrases import PhraseMemory
from groundstream.operators.tracking.tracker import Tracker


class PhraseTracker:
    """Tracks of one stream, each with the phrases that it answers to.

    Boxes are tracked whatever their phrase, so that a track keeps its id when its best phrase changes or
    the query does; what it is called is the business of the phrase memory.
    """

    def __init__(
        self,
        stream_id: str,
        tracker: Tracker,
        memory: PhraseMemory,
        *,
        score: float,
        overlap_iou: float,
    ) -> None:
        """Build an associator.

        Args:
            stream_id: first part of every track's id.
            tracker: gives boxes their numbers.
            memory: gives numbers their phrases.
            score: an unconfirmed box is reported from this score on (0..1).
            overlap_iou: boxes that overlap by more are one object.
        """
        self._stream_id, self._tracker, self._memory = stream_id, tracker, memory
        self._score, self._overlap_iou = score, overlap_iou
        self._epoch = 1

    def update(
        self,
        raw: RawDetections,
        plan: PicturePlan,
        prompt: Prompt,
        *,
        epoch: int,
        time_s: float,
        frame_bgr: Callable[[], NDArray[np.uint8]],
    ) -> sv.Detections:
        """Return the objects of a frame, as `FrameResult.detections` describes them.

        Args:
            raw: the model's candidates, one column per phrase of `prompt`.
            plan: how the frame became the model's picture.
            prompt: the phrases that were asked.
            epoch: a new one forgets all tracks.
            time_s: media clock of the frame.
            frame_bgr: called when the tracker wants to see the frame, (H, W, 3) uint8.
        """
        if epoch != self._epoch:
            self._forget(epoch)
        self._memory.set_prompt(prompt)
        merged = merge_overlapping(raw, self._overlap_iou)
        boxes, scores = plan.to_frame(merged.boxes_model), merged.phrase_scores  # frame pixels from here on
        best = scores.max(axis=1, initial=0.0)
        picture = frame_bgr() if self._tracker.needs_frame else None
        tracked = self._tracker.update(boxes, best, time_s, picture)
        rows = _Rows(self._stream_id, epoch, prompt)
        for box, row, track_id in zip(boxes, scores, tracked.ids.tolist(), strict=True):
            if track_id:
                phrases = self._memory.observe(track_id, row, time_s)
                rows.add(box, phrases.scores, phrases.label, track_id, "confirmed", time_s - phrases.first_s)
            elif row.max(initial=0.0) >= self._score:
                rows.add(box, row, int(row.argmax()), 0, "tentative", 0.0)
        for box, track_id in zip(_inside(tracked.lost_boxes, plan), tracked.lost_ids.tolist(), strict=True):
            known = self._memory.get(track_id)
            if known is not None and box[2] > box[0] and box[3] > box[1]:
                rows.add(box, known.scores, known.label, track_id, "lost", time_s - known.first_s)
        self._memory.keep_only(tracked.alive)
        return rows.detections()

    def _forget(self, epoch: int) -> None:
        self._epoch = epoch
        self._tracker.reset()
        self._memory.keep_only(())


def no_objects(prompt: Prompt) -> sv.Detections:
    """Return no objects, with all the data fields that `FrameResult.detections` has."""
    return _Rows("", 0, prompt).detections()


def _inside(boxes: NDArray[np.float32], plan: PicturePlan) -> NDArray[np.float32]:
    """Clip (N, 4) xyxy boxes to the frame; a box that has left it becomes empty."""
    height, width = plan.frame_px
    clipped: NDArray[np.float32] = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    return clipped


class _Rows:
    """Gathers the rows of one frame's detections; a track that answers to no phrase now gives no row."""

    def __init__(self, stream_id: str, epoch: int, prompt: Prompt) -> None:
        self._prefix = f"{stream_id}:{epoch}:"
        self._phrases = prompt.phrases
        self._boxes: list[NDArray[np.float32]] = []
        self._scores: list[NDArray[np.float32]] = []
        self._labels: list[int] = []
        self._ids: list[int] = []
        self._states: list[str] = []
        self._ages: list[float] = []

    def add(
        self,
        box: NDArray[np.float32],
        scores: NDArray[np.float32],
        label: int,
        track_id: int,
        state: str,
        age_s: float,
    ) -> None:
        if label < 0:
            return
        self._boxes.append(box)
        self._scores.append(scores)
        self._labels.append(label)
        self._ids.append(track_id)
        self._states.append(state)
        self._ages.append(age_s)

    def detections(self) -> sv.Detections:
        count = len(self._labels)
        scores = np.nan_to_num(np.array(self._scores, np.float32).reshape(count, len(self._phrases)))
        labels = np.array(self._labels, np.int64)
        states = np.array(self._states, np.str_)
        return sv.Detections(
            xyxy=np.array(self._boxes, np.float32).reshape(count, 4),
            confidence=scores[np.arange(count), labels],
            class_id=labels,
            tracker_id=np.array([track_id or -1 for track_id in self._ids], np.int64),
            data={
                "phrase": np.array([self._phrases[label] for label in self._labels], np.str_),
                "phrase_scores": scores,
                "track_uid": np.array([f"{self._prefix}{n}" if n else "" for n in self._ids], np.str_),
                "state": states,
                "age_s": np.array(self._ages, np.float32),
                "interpolated": states == "lost",
            },
        )
