"""`groundstream.detection/1`: what was found in one frame, as a record that is ready for JSON.

`detection-1.json` beside this file is the JSON Schema. Rounding: pixels and milliseconds to 2 decimals,
scores to 4, parts of the picture and seconds of the media clock to 6, ages to 3. Every number is finite.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

import numpy as np
import supervision as sv
from numpy.typing import NDArray

from groundstream.operators.frames import FrameResult

_log = logging.getLogger(__name__)

SCHEMA = "groundstream.detection/1"
_EVENT_SCHEMA = "groundstream.event/1"  # may stand between them
SCHEMA_FILE = Path(__file__).with_name("detection-1.json")
#: An object lists so many of its phrases, the best first; its own phrase is always among them.
MOST_PHRASES = 5

State = Literal["tentative", "confirmed", "lost"]


class PhraseScore(TypedDict):
    """How well a phrase fits an object, 0..1."""

    phrase: str
    score: float


class ObjectRecord(TypedDict):
    """One object; `box` is xyxy in pixels from the top left corner, `box_norm` in parts of the picture."""

    track_id: str | None
    box: list[float]
    box_norm: list[float]
    phrase: str
    score: float
    phrases: list[PhraseScore]
    state: State
    age_s: float
    interpolated: bool
    zones: list[str]


class ModelRecord(TypedDict):
    """Which model answered."""

    id: str
    revision: str
    adapter: str


class DetectionRecord(TypedDict):
    """One frame; `stale` says that there was no answer, which is not the same as no objects."""

    schema: str
    stream_id: str
    epoch: int
    seq: int
    time_s: float
    wall_time: str
    width: int
    height: int
    model: ModelRecord
    objects: list[ObjectRecord]
    dropped_since_last: dict[str, int]
    stale: bool
    timing_ms: dict[str, float]


def record(result: FrameResult) -> DetectionRecord:
    """Return the record of `result`.

    Objects whose box is not finite are left out, with one warning per stream.

    Raises:
        ValueError: the frame's time is not finite.
    """
    frame, info = result.frame, result.model
    if not isfinite(frame.time_s):
        raise ValueError(
            f"expected a finite time of frame {frame.seq} of {frame.stream_id}, got {frame.time_s}"
        )
    width, height = frame.width, frame.height
    objects = [] if result.stale else to_objects(result.detections, result.prompt.phrases, width, height)
    if not result.stale and len(objects) < len(result.detections):
        _warn_of_boxes(frame.stream_id)
    return {
        "schema": SCHEMA,
        "stream_id": frame.stream_id,
        "epoch": frame.epoch,
        "seq": frame.seq,
        "time_s": round(frame.time_s, 6),
        "wall_time": result.wall_time,
        "width": width,
        "height": height,
        "model": {"id": info.name, "revision": info.revision, "adapter": result.adapter},
        "objects": objects,
        "dropped_since_last": dict(frame.dropped),
        "stale": result.stale,
        "timing_ms": {stage: round(ms, 2) for stage, ms in result.timing_ms.items() if isfinite(ms)},
    }


def to_objects(
    detections: sv.Detections, phrases: Sequence[str], width: int, height: int
) -> list[ObjectRecord]:
    """Return the objects of `detections`, which carry the data fields that `FrameResult` lists.

    Args:
        detections: boxes in pixels of the frame.
        phrases: the P phrases of the prompt, which name the columns of `phrase_scores`.
        width: of the frame, in pixels.
        height: of the frame, in pixels.
    """
    if not len(detections):
        return []
    # Whole arrays become lists at once: one numpy scalar at a time costs ten times as much.
    boxes = np.asarray(detections.xyxy, np.float64)
    data = cast("Mapping[str, Any]", detections.data)
    columns = zip(
        _listed(np.isfinite(boxes).all(axis=1)),
        _listed(data["track_uid"]),
        boxes.round(2).tolist(),
        (boxes / (width, height, width, height)).round(6).tolist(),
        _listed(data["phrase"]),
        _scores(detections.confidence).tolist(),
        _ranked(_scores(data["phrase_scores"]), phrases),
        _listed(data["state"]),
        np.nan_to_num(np.asarray(data["age_s"], np.float64), posinf=0.0).round(3).tolist(),
        _listed(data["interpolated"]),
        data.get("zones", [()] * len(boxes)),
        strict=True,
    )
    return [
        {
            "track_id": uid or None,
            "box": box,
            "box_norm": box_norm,
            "phrase": phrase,
            "score": score,
            "phrases": _with_own(ranked, phrase, score),
            "state": state,
            "age_s": age_s,
            "interpolated": interpolated,
            "zones": list(zones),
        }
        for finite, uid, box, box_norm, phrase, score, ranked, state, age_s, interpolated, zones in columns
        if finite
    ]


def from_record(record: DetectionRecord, phrases: Sequence[str] = ()) -> sv.Detections:
    """Return the objects of `record` as supervision has them, with the data fields of `FrameResult`.

    Args:
        record: one frame.
        phrases: what `class_id` and the columns of `phrase_scores` count, the prompt's phrases as a rule;
            phrases of the record that are not among them follow in their order.
    """
    objects = record["objects"]
    scored = [{entry["phrase"]: entry["score"] for entry in each["phrases"]} for each in objects]
    names = list(dict.fromkeys([*phrases, *(phrase for scores in scored for phrase in scores)]))
    rows = {phrase: row for row, phrase in enumerate(names)}
    table = np.zeros((len(objects), len(names)), np.float32)
    for row, scores in enumerate(scored):
        table[row, [rows[phrase] for phrase in scores]] = list(scores.values())
    ids = [each["track_id"] for each in objects]
    return sv.Detections(
        xyxy=np.array([each["box"] for each in objects], np.float32).reshape(-1, 4),
        confidence=np.array([each["score"] for each in objects], np.float32),
        class_id=np.array([rows[each["phrase"]] for each in objects], int),
        tracker_id=np.array([int(uid.rpartition(":")[2]) if uid else -1 for uid in ids], int),
        data={
            "phrase": np.array([each["phrase"] for each in objects], str),
            "phrase_scores": table,
            "track_uid": np.array([uid or "" for uid in ids], str),
            "state": np.array([each["state"] for each in objects], str),
            "age_s": np.array([each["age_s"] for each in objects], np.float32),
            "interpolated": np.array([each["interpolated"] for each in objects], bool),
            "zones": [each["zones"] for each in objects],
        },
    )


def read_records(path: Path) -> Iterator[DetectionRecord]:
    """Read the detection records of a JSONL file one by one; records of events are passed over.

    A last line without its end is what a killed run leaves: it is skipped with a warning.

    Raises:
        OSError: the file cannot be read.
        ValueError: another line is not a record of this version.
    """
    for number, line in whole_lines(path):
        made = _parsed(line, path, number)
        if made["schema"] == SCHEMA:
            yield made


def whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers from 1; a last one that was cut is warned of instead.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                _log.warning(
                    "%s: line %d is cut, the run was killed while it wrote it; skipped", path, number
                )
                return
            yield number, line


def _parsed(line: bytes, path: Path, number: int) -> DetectionRecord:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: expected a record in JSON, but got {error}") from error
    if not isinstance(content, dict) or content.get("schema") not in (SCHEMA, _EVENT_SCHEMA):
        raise ValueError(f'{path}, line {number}: expected a record with "schema": "{SCHEMA}"')
    return cast("DetectionRecord", content)


def _listed(values: Any) -> list[Any]:
    return list(values.tolist()) if isinstance(values, np.ndarray) else list(values)


def _scores(values: Any) -> NDArray[np.float64]:
    finite = np.nan_to_num(np.asarray(values, np.float64), posinf=1.0, neginf=0.0)
    return np.clip(finite, 0.0, 1.0).round(4)


def _ranked(scores: NDArray[np.float64], phrases: Sequence[str]) -> list[list[PhraseScore]]:
    """Return for each row of (N, P) `scores` its best phrases, without those that score nothing."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :MOST_PHRASES]
    best = np.take_along_axis(scores, order, axis=1)
    return [
        [{"phrase": phrases[column], "score": score} for column, score in zip(*row, strict=True) if score > 0]
        for row in zip(order.tolist(), best.tolist(), strict=True)
    ]


def _with_own(ranked: list[PhraseScore], phrase: str, score: float) -> list[PhraseScore]:
    if any(entry["phrase"] == phrase for entry in ranked):
        return ranked
    return [*ranked[: MOST_PHRASES - 1], {"phrase": phrase, "score": score}]


@functools.lru_cache(maxsize=1024)
def _warn_of_boxes(stream_id: str) -> None:
    """Say it once per stream; the cache is the memory of whom it was said to."""
    _log.warning("%s: boxes with numbers that are not finite are left out of the records", stream_id)
