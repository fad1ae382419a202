"""MOTChallenge text: what evaluation tools of trackers read.

What other tools count as a detection is a confirmed object: tentative and lost ones stay out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from groundstream.operators.records.detection import DetectionRecord, confirmed, ltwh, number_of

if TYPE_CHECKING:
    import supervision as sv


def to_mot(record: DetectionRecord) -> list[str]:
    """Return one line of MOT text per object: `frame,id,left,top,width,height,conf,-1,-1,-1`.

    Frames count from 1 (`seq` + 1); left and top are pixels from 0, as in the record.
    """
    rows = [
        (record["seq"] + 1, number_of(each), *ltwh(each), each["score"], -1, -1, -1)
        for each in confirmed(record)
    ]
    return [",".join(map(str, row)) for row in rows]


def from_mot(lines: Iterable[str]) -> dict[int, sv.Detections]:
    """Return the detections of MOT text (results or ground truth) by frame, counted from 1.

    Raises:
        ValueError: a line has fewer than seven numbers.
    """
    import supervision as sv  # heavy, and who writes MOT text does without

    frames: dict[int, list[list[float]]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            frame, *values = [float(value) for value in line.split(",")]
            track, left, top, width, height, score = values[:6]
        except ValueError:
            expected = "frame,id,left,top,width,height,conf"
            raise ValueError(f"MOT line {number}: expected {expected}, but got {line.strip()!r}") from None
        frames.setdefault(int(frame), []).append([left, top, left + width, top + height, score, track])
    found = {}
    for frame, listed in frames.items():
        rows = np.array(listed)  # (N, 6)
        found[frame] = sv.Detections(
            xyxy=rows[:, :4].astype(np.float32),
            confidence=rows[:, 4].astype(np.float32),
            class_id=np.zeros(len(rows), int),  # a class is a phrase, of which MOT text knows nothing
            tracker_id=rows[:, 5].astype(int),
        )
    return found
