"""Results of frames that nobody decoded, for tests of what comes after the tracker."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import av
import numpy as np
import supervision as sv

from groundstream.models.types import ModelInfo, Prompt
from groundstream.operators.frames import Frame, FrameResult, SeenObject

MODEL = ModelInfo("fake", "fake", "0123456789ab", "fake-1", "phrase")
PROMPT = Prompt.of(["person", "white van", "狗"])


def detections(count: int, *, prompt: Prompt = PROMPT, stream: str = "cam", epoch: int = 1) -> sv.Detections:
    """Return `count` objects: the first confirmed (n = 1), then lost, tentative, confirmed, and so on."""
    rows = np.arange(count)
    rng = np.random.default_rng(count)
    corners = rng.uniform(0, 300, (count, 2)).astype(np.float32)
    scores = rng.uniform(0.3, 1, (count, len(prompt.phrases))).astype(np.float32)
    class_id = scores.argmax(axis=1) if count else np.zeros(0, int)
    states = np.array(["confirmed", "lost", "tentative"])[rows % 3] if count else np.zeros(0, "<U9")
    confirmed = states != "tentative"
    return sv.Detections(
        xyxy=np.concatenate([corners, corners + 50.126], axis=1, dtype=np.float32),
        confidence=scores[rows, class_id],
        class_id=class_id,
        tracker_id=np.where(confirmed, rows + 1, -1),
        data={
            "phrase": np.array(prompt.phrases)[class_id],
            "phrase_scores": scores,
            "track_uid": np.array(
                [
                    f"{stream}:{epoch}:{row + 1}" if yes else ""
                    for row, yes in zip(rows, confirmed, strict=True)
                ],
                str,
            ),
            "state": states,
            "age_s": (rows * 0.5).astype(np.float32),
            "interpolated": rows % 2 == 1,
        },
    )


def objects(found: sv.Detections) -> tuple[SeenObject, ...]:
    """Return the objects that `to_detections` would have made `found` of."""
    if not len(found):
        return ()
    data: Any = found.data
    assert found.confidence is not None
    assert found.class_id is not None
    assert found.tracker_id is not None
    return tuple(
        SeenObject(
            track_id=str(data["track_uid"][row]),
            phrase=str(data["phrase"][row]),
            score=float(found.confidence[row]),
            box=tuple(found.xyxy[row].tolist()),
            state=str(data["state"][row]),
            number=int(found.tracker_id[row]),
            phrase_index=int(found.class_id[row]),
            phrase_scores=tuple(data["phrase_scores"][row].tolist()),
            age_s=float(data["age_s"][row]),
            interpolated=bool(data["interpolated"][row]),
        )
        for row in range(len(found))
    )


def with_objects(result: FrameResult, **values: Any) -> FrameResult:
    """Return `result` with these values in all of its objects."""
    return dataclasses.replace(result, objects=tuple(each._replace(**values) for each in result.objects))


def result(
    count: int = 3,
    *,
    seq: int = 0,
    epoch: int = 1,
    stream: str = "cam",
    prompt: Prompt = PROMPT,
    size: tuple[int, int] = (640, 360),
    dropped: Mapping[str, int] | None = None,
    **more: Any,
) -> FrameResult:
    """Return the result of frame `seq`, of `size` (width, height), with `count` objects."""
    frame = Frame(
        stream_id=stream,
        epoch=epoch,
        seq=seq,
        time_s=seq / 30,
        wall_time=1_700_000_000.25 + seq / 30,
        picture=av.VideoFrame(*size, "yuv420p"),
        dropped=dropped or {},
    )
    found = more.pop("detections", detections(count, prompt=prompt, stream=stream, epoch=epoch))
    more.setdefault("objects", objects(found))
    more.setdefault("timing_ms", {"detect": 12.3456})
    return FrameResult(frame=frame, prompt=prompt, model=MODEL, **more)


def results(counts: Sequence[int], **options: Any) -> list[FrameResult]:
    """Return results of frames 0, 1, 2, ... with so many objects each."""
    return [result(count, seq=seq, **options) for seq, count in enumerate(counts)]
