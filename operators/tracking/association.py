"""From a model's candidates to tracks that answer to phrases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import supervision as sv
from numpy.typing import NDArray

from groundstream.models.types import PicturePlan, Prompt, RawDetections
from groundstream.operators.frames import SeenObject
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
        """Join a tracker with a memory of phrases.

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
    ) -> tuple[SeenObject, ...]:
        """Return the objects of a frame, with boxes in its pixels.

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
        boxes_frame, scores = plan.to_frame(merged.boxes_model), merged.phrase_scores  # (N, 4) px, (N, P)
        # One score per box, whichever phrase it is of: what a thing is called must not decide where it goes.
        best = scores.max(axis=1, initial=0.0)
        picture = frame_bgr() if self._tracker.needs_frame else None
        tracked = self._tracker.update(boxes_frame, best, time_s, picture)
        rows = _ObjectBuilder(self._stream_id, epoch, prompt)
        for box, row, number in zip(boxes_frame, scores, tracked.ids.tolist(), strict=True):
            if number:
                phrases = self._memory.observe(number, row, time_s)
                rows.add(box, phrases.scores, phrases.label, number, "confirmed", time_s - phrases.first_s)
            elif row.max(initial=0.0) >= self._score:
                rows.add(box, row, int(row.argmax()), -1, "tentative", 0.0)
        for box, number in zip(_inside(tracked.lost_boxes, plan), tracked.lost_ids.tolist(), strict=True):
            known = self._memory.get(number)
            if known is not None and box[2] > box[0] and box[3] > box[1]:
                rows.add(box, known.scores, known.label, number, "lost", time_s - known.first_s)
        self._memory.keep_only(tracked.alive)
        return rows.objects()

    def _forget(self, epoch: int) -> None:
        self._epoch = epoch
        self._tracker.reset()
        self._memory.keep_only(())


def merge_overlapping(raw: RawDetections, overlap_iou: float) -> RawDetections:
    """Merge each box into the best-scored one that it overlaps by more than `overlap_iou`.

    Greedy, best score first, whatever the phrase: the stronger box stays as it is and takes, phrase by
    phrase, the higher of both scores, so that "person" and "man" on one person are one object with two
    phrases.

    Args:
        raw: N candidates, highest best score first.
        overlap_iou: intersection over union, 0..1.
    """
    count = len(raw.boxes_model)
    if count < 2:
        return raw
    overlaps = sv.box_iou_batch(raw.boxes_model, raw.boxes_model) > overlap_iou  # (N, N)
    alive = np.ones(count, bool)
    keep: list[int] = []
    scores = raw.phrase_scores.copy()
    for row in range(count):
        if not alive[row]:
            continue
        same = overlaps[row] & alive
        same[row] = True  # a box without area overlaps nothing, not even itself
        scores[row] = raw.phrase_scores[same].max(axis=0)
        alive[same] = False
        keep.append(row)
    return RawDetections(raw.boxes_model[keep], scores[keep])


def _inside(boxes: NDArray[np.float32], plan: PicturePlan) -> NDArray[np.float32]:
    """Clip (N, 4) xyxy boxes to the frame; a box that has left it becomes empty."""
    height, width = plan.frame_px
    clipped: NDArray[np.float32] = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    return clipped


class _ObjectBuilder:
    """Gathers the rows of one frame's objects; a track that answers to no phrase now gives no row."""

    def __init__(self, stream_id: str, epoch: int, prompt: Prompt) -> None:
        self._prefix = f"{stream_id}:{epoch}:"
        self._phrases = prompt.phrases
        self._boxes: list[NDArray[np.float32]] = []
        self._scores: list[NDArray[np.float32]] = []
        self._rest: list[tuple[int, int, str, float]] = []

    def add(
        self,
        box: NDArray[np.float32],
        scores: NDArray[np.float32],
        label: int,
        number: int,
        state: str,
        age_s: float,
    ) -> None:
        if label < 0:
            return
        self._boxes.append(box)
        self._scores.append(scores)
        self._rest.append((label, number, state, age_s))

    def objects(self) -> tuple[SeenObject, ...]:
        if not self._rest:
            return ()
        # Whole arrays become lists at once: one numpy scalar at a time costs ten times as much.
        boxes = np.array(self._boxes, np.float32).tolist()
        scores = np.nan_to_num(np.array(self._scores, np.float32)).tolist()  # NaN: a phrase not asked of it
        return tuple(
            SeenObject(
                f"{self._prefix}{number}" if number > 0 else "",
                self._phrases[label],
                row[label],
                (box[0], box[1], box[2], box[3]),
                state,
                number,
                label,
                tuple(row),
                age_s,
                state == "lost",
            )
            for box, row, (label, number, state, age_s) in zip(boxes, scores, self._rest, strict=True)
        )
