"""Results of frames in which things stand where a test wants them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
import supervision as sv
from result_factory import MODEL, PROMPT

from groundstream.operators.events.engine import RuleEngine
from groundstream.operators.events.event import Event
from groundstream.operators.frames import Frame, FrameResult
from groundstream.operators.sinks.worker import PictureSize

SIDE = 1000  # pixels of the square picture


@dataclass(frozen=True)
class Thing:
    """An object whose box stands at (x, y) in parts of the picture."""

    x: float
    y: float
    n: int = 1
    phrase: str = "person"
    score: float = 0.8
    state: str = "confirmed"


def frame_result(
    time_s: float, things: Iterable[Thing] = (), *, epoch: int = 1, stale: bool = False, stream: str = "cam"
) -> FrameResult:
    """Return the result of the frame at `time_s`, numbered by hundredths of a second."""
    frame = Frame(
        stream_id=stream,
        epoch=epoch,
        seq=max(0, round(time_s * 100)),
        time_s=time_s,
        wall_time=1_700_000_000 + time_s,
        picture=cast("av.VideoFrame", PictureSize(SIDE, SIDE)),
    )
    return FrameResult(frame, PROMPT, MODEL, _detections(list(things), f"{stream}:{epoch}"), stale=stale)


def _detections(things: list[Thing], prefix: str) -> sv.Detections:
    boxes = [[each.x * SIDE - 20, each.y * SIDE - 80, each.x * SIDE + 20, each.y * SIDE] for each in things]
    known = [each.state != "tentative" for each in things]
    return sv.Detections(
        xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        confidence=np.array([each.score for each in things], np.float32),
        class_id=np.array([PROMPT.phrases.index(each.phrase) for each in things], int),
        tracker_id=np.array([each.n if yes else -1 for each, yes in zip(things, known, strict=True)], int),
        data={
            "phrase": np.array([each.phrase for each in things], str),
            "phrase_scores": np.zeros((len(things), len(PROMPT.phrases)), np.float32),
            "track_uid": np.array(
                [f"{prefix}:{each.n}" if yes else "" for each, yes in zip(things, known, strict=True)], str
            ),
            "state": np.array([each.state for each in things], str),
            "age_s": np.zeros(len(things), np.float32),
            "interpolated": np.array([each.state == "lost" for each in things], bool),
        },
    )


def play(
    engine: RuleEngine, moments: Mapping[float, Iterable[Thing]] | Iterable[tuple[float, Iterable[Thing]]]
) -> list[Event]:
    """Show what is where at which second; return all that is told."""
    pairs = moments.items() if isinstance(moments, Mapping) else moments
    return [event for at, things in pairs for event in engine.update(frame_result(at, things)).events]


def walk(
    points: Iterable[tuple[float, float]], start_s: float = 0.0, fps: float = 10.0, **thing: object
) -> Iterator[tuple[float, list[Thing]]]:
    """Yield one thing that is at one point after another."""
    for number, (x, y) in enumerate(points):
        yield start_s + number / fps, [Thing(x, y, **thing)]  # type: ignore[arg-type]


def told(events: Iterable[Event]) -> list[tuple[str, str]]:
    """Return kind and type of each message, without updates."""
    return [(event.kind, event.type) for event in events if event.type != "update"]
