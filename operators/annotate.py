"""Boxes, phrases and ids drawn on a frame, with supervision's annotators."""

from __future__ import annotations

import numpy as np
import supervision as sv
from numpy.typing import NDArray

from groundstream.operators.frames import FrameResult

_REFERENCE_PX = 720.0  # short side at which lines are 2 px wide


class Annotator:
    """Draws the objects of a result: one colour per phrase, `#3 white van 0.82` above each box.

    Confirmed and tentative objects are drawn, lost ones not (their box is a guess). Line and text sizes
    follow the picture's size.
    """

    def __init__(self, height_px: int, width_px: int) -> None:
        scale = max(0.5, min(height_px, width_px) / _REFERENCE_PX)
        thickness = max(1, round(2 * scale))
        self._boxes = sv.BoxAnnotator(thickness=thickness)
        self._labels = sv.LabelAnnotator(
            text_scale=0.5 * scale, text_thickness=max(1, round(scale)), text_padding=max(2, round(5 * scale))
        )

    def __call__(self, picture_bgr: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
        """Draw on `picture_bgr`, (H, W, 3) uint8 BGR, in place, and return it."""
        found = result.detections
        seen = found[found.data["state"] != "lost"]
        assert isinstance(seen, sv.Detections)
        if not len(seen):
            return picture_bgr
        self._boxes.annotate(picture_bgr, seen)
        self._labels.annotate(picture_bgr, seen, labels=_labels(seen))
        return picture_bgr


def _labels(found: sv.Detections) -> list[str]:
    uids, phrases, scores = found.data["track_uid"], found.data["phrase"], found.confidence
    assert scores is not None
    return [
        f"#{uid.rpartition(':')[2]} {phrase} {score:.2f}" if uid else f"{phrase} {score:.2f}"
        for uid, phrase, score in zip(uids, phrases, scores, strict=True)
    ]
