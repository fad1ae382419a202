"""Boxes, phrases, ids, zones, lines and the time drawn on a frame, with supervision's annotators."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import cv2
import numpy as np
import supervision as sv
from numpy.typing import NDArray

if TYPE_CHECKING:
    from groundstream.operators.frames import FrameResult

_REFERENCE_PX = 720.0  # short side at which lines are 2 px wide
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_ZONE_BGR, _WHITE_BGR, _BLACK_BGR = (0, 215, 255), (255, 255, 255), (0, 0, 0)


class Annotator:
    """Draws the objects of a result: one colour per phrase, `#3 white van 0.82` above each box.

    Confirmed and tentative objects are drawn, lost ones not (their box is a guess). Line and text sizes
    follow the picture's size. All that draws takes an (H, W, 3) uint8 BGR picture and changes it in place.
    """

    def __init__(self, height_px: int, width_px: int) -> None:
        self._scale = scale = max(0.5, min(height_px, width_px) / _REFERENCE_PX)
        self._thickness = max(1, round(2 * scale))
        self._boxes = sv.BoxAnnotator(thickness=self._thickness)
        self._labels = sv.LabelAnnotator(
            text_scale=0.5 * scale, text_thickness=max(1, round(scale)), text_padding=max(2, round(5 * scale))
        )

    def __call__(self, picture_bgr: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
        """Draw the objects of `result`, and return the picture."""
        found = result.detections
        seen = found[found.data["state"] != "lost"]
        assert isinstance(seen, sv.Detections)
        return self.objects(picture_bgr, seen)

    def objects(self, picture_bgr: NDArray[np.uint8], seen: sv.Detections) -> NDArray[np.uint8]:
        """Draw all of `seen`, whose data has `track_uid` and `phrase`, and return the picture."""
        if len(seen):
            self._boxes.annotate(picture_bgr, seen)
            self._labels.annotate(picture_bgr, seen, labels=_labels(seen))
        return picture_bgr

    def outline(
        self,
        picture_bgr: NDArray[np.uint8],
        name: str,
        points: Sequence[tuple[float, float]],
        *,
        closed: bool,
    ) -> NDArray[np.uint8]:
        """Draw a zone (`closed`) or a line with its name beside its first point, and return the picture.

        `points` are (x, y) in parts of the picture, 0..1, from the top left.
        """
        height, width = picture_bgr.shape[:2]
        corners = np.round(np.array(points) * (width - 1, height - 1)).astype(np.int32)
        cv2.polylines(picture_bgr, [corners], closed, _ZONE_BGR, self._thickness, cv2.LINE_AA)
        x, y = corners[0].tolist()
        self._text(picture_bgr, name, (x, y - 2 * self._thickness), _ZONE_BGR)
        return picture_bgr

    def clock(self, picture_bgr: NDArray[np.uint8], wall_s: float) -> NDArray[np.uint8]:
        """Write `wall_s`, seconds since 1970, as UTC into the lower left corner, and return the picture."""
        moment = datetime.fromtimestamp(wall_s, UTC)
        text = f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"
        margin = round(8 * self._scale)
        self._text(picture_bgr, text, (margin, picture_bgr.shape[0] - margin), _WHITE_BGR)
        return picture_bgr

    def _text(
        self,
        picture_bgr: NDArray[np.uint8],
        text: str,
        origin: tuple[int, int],
        colour: tuple[int, int, int],
    ) -> None:
        """Write `text` inside the picture, as near to `origin` (its lower left) as that allows."""
        scale, thin = 0.5 * self._scale, max(1, round(self._scale))
        (wide, high), _ = cv2.getTextSize(text, _FONT, scale, thin)
        x = min(max(0, origin[0]), max(0, picture_bgr.shape[1] - wide))
        y = min(max(high, origin[1]), picture_bgr.shape[0] - 1)
        # A dark edge keeps it readable on any ground.
        cv2.putText(picture_bgr, text, (x, y), _FONT, scale, _BLACK_BGR, thin + 2, cv2.LINE_AA)
        cv2.putText(picture_bgr, text, (x, y), _FONT, scale, colour, thin, cv2.LINE_AA)


def _labels(found: sv.Detections) -> list[str]:
    uids, phrases, scores = found.data["track_uid"], found.data["phrase"], found.confidence
    assert scores is not None
    return [
        f"#{uid.rpartition(':')[2]} {phrase} {score:.2f}" if uid else f"{phrase} {score:.2f}"
        for uid, phrase, score in zip(uids, phrases, scores, strict=True)
    ]
