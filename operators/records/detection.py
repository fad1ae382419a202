"""`groundstream.detection/1`: what was found in one frame, as a record that is ready for JSON.

`detection-1.json` beside this file is the JSON Schema. Rounding: pixels and milliseconds to 2 decimals,
scores to 4, parts of the picture and seconds of the media clock to 6, ages to 3. Every number is finite.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Sequence
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from groundstream.operators.frames import FrameResult, SeenObject, to_detections

if TYPE_CHECKING:
    import supervision as sv

_log = logging.getLogger(__name__)

SCHEMA = "groundstream.detection/1"
_EVENT_SCHEMA = "groundstream.event/1"  # may stand between them
SCHEMA_FILE = Path(__file__).with_name("detection-1.json")
#: An object lists so many of its phrases, the best first; its own phrase is always among them.
MOST_PHRASES = 5
#: Tracks of later epochs are numbered from here on, so that one integer names a track of a stream.
EPOCH_STEP = 10_000_000

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
    """Return the record of `result`, made anew; `shared_record` is the one of all outputs.

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
    seen = () if result.stale else result.objects
    objects = _object_records(seen, result.prompt.phrases, width, height)
    if len(objects) < len(seen):
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
        "model": {"id": info.name, "revision": info.revision, "adapter": info.adapter},
        "objects": objects,
        "dropped_since_last": dict(frame.dropped),
        "stale": result.stale,
        "timing_ms": {stage: round(ms, 2) for stage, ms in result.timing_ms.items() if isfinite(ms)},
    }


def _object_records(
    objects: Sequence[SeenObject], phrases: Sequence[str], width: int, height: int
) -> list[ObjectRecord]:
    if not objects:
        return []
    # Rounded as whole arrays: one number at a time costs ten times as much.
    boxes = np.array([seen.box for seen in objects], np.float64)  # (N, 4)
    finite: list[bool] = np.asarray(np.isfinite(boxes).all(axis=1)).tolist()
    columns = zip(
        objects,
        finite,
        boxes.round(2).tolist(),
        (boxes / (width, height, width, height)).round(6).tolist(),
        _scores([seen.score for seen in objects]).tolist(),
        _ranked(_scores([seen.phrase_scores for seen in objects]), phrases),
        np.nan_to_num([seen.age_s for seen in objects], posinf=0.0).round(3).tolist(),
        strict=True,
    )
    return [
        {
            "track_id": seen.track_id or None,
            "box": box,
            "box_norm": box_norm,
            "phrase": seen.phrase,
            "score": score,
            "phrases": _with_own(ranked, seen.phrase, score),
            "state": cast("State", seen.state),
            "age_s": age_s,
            "interpolated": seen.interpolated,
            "zones": list(seen.zones),
        }
        for seen, whole, box, box_norm, score, ranked, age_s in columns
        if whole
    ]


def from_record(record: DetectionRecord, phrases: Sequence[str] = ()) -> sv.Detections:
    """Return the objects of `record` as `FrameResult.detections` has them, with their zones.

    Args:
        record: one frame.
        phrases: what `class_id` and the columns of `phrase_scores` count, the prompt's phrases as a rule;
            phrases of the record that are not among them follow in their order.
    """
    scored = [{entry["phrase"]: entry["score"] for entry in each["phrases"]} for each in record["objects"]]
    names = list(dict.fromkeys([*phrases, *(phrase for scores in scored for phrase in scores)]))
    objects = [
        SeenObject(
            track_id=each["track_id"] or "",
            phrase=each["phrase"],
            score=each["score"],
            box=(each["box"][0], each["box"][1], each["box"][2], each["box"][3]),
            state=each["state"],
            number=int(each["track_id"].rpartition(":")[2]) if each["track_id"] else -1,
            phrase_index=names.index(each["phrase"]),
            phrase_scores=tuple(scores.get(name, 0.0) for name in names),
            age_s=each["age_s"],
            interpolated=each["interpolated"],
            zones=tuple(each["zones"]),
        )
        for each, scores in zip(record["objects"], scored, strict=True)
    ]
    return to_detections(objects, len(names), zones=True)


def confirmed(record: DetectionRecord) -> list[ObjectRecord]:
    """Return the objects that have a track and were seen in this frame."""
    return [each for each in record["objects"] if each["state"] == "confirmed" and each["track_id"]]


def track_number(track_id: str) -> int:
    """Return one integer for `stream:epoch:n`: n in the first epoch, `EPOCH_STEP` more in each later one."""
    _, epoch, number = track_id.rsplit(":", 2)
    return (int(epoch) - 1) * EPOCH_STEP + int(number)


def number_of(each: ObjectRecord) -> int:
    """Return the track number of a confirmed object."""
    assert each["track_id"] is not None
    return track_number(each["track_id"])


def ltwh(each: ObjectRecord) -> tuple[float, float, float, float]:
    """Return left, top, width and height of an object in pixels, to 2 decimals."""
    left, top, right, bottom = each["box"]
    return left, top, round(right - left, 2), round(bottom - top, 2)


def json_text(content: object) -> str:
    """Return `content` as JSON on one line, without spaces and without the line's end.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_bytes(content: object) -> bytes:
    """Return `content` as `json_text` does, in UTF-8.

    Raises:
        ValueError: a number is not finite.
    """
    # Names of files may hold bytes that are no UTF-8; what stands for them is escaped as JSON does it.
    return json_text(content).encode("utf-8", "backslashreplace")


def shared_record(result: FrameResult) -> DetectionRecord:
    """Return the record of `result` that all its outputs share, made once; nobody writes into it.

    Raises:
        ValueError: the frame's time is not finite.
    """
    return result.once(record)


def shared_json(result: FrameResult) -> bytes:
    """Return that record as one line of JSON in UTF-8 without the line's end, made once.

    Raises:
        ValueError: the frame's time is not finite.
    """
    return result.once(_record_bytes)


def _record_bytes(result: FrameResult) -> bytes:
    return json_bytes(shared_record(result))


def read_records(path: str | PathLike[str]) -> Iterator[DetectionRecord]:
    """Read the detection records of a JSONL file one by one; records of events are passed over.

    A last line without its end is what a killed run leaves: it is skipped with a warning.

    Raises:
        OSError: the file cannot be read.
        ValueError: another line is not a record of this version.
    """
    for number, line in whole_lines(Path(path)):
        try:
            content = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: expected a record in JSON, but got {error}") from error
        if not isinstance(content, dict) or content.get("schema") not in (SCHEMA, _EVENT_SCHEMA):
            raise ValueError(f'{path}, line {number}: expected a record with "schema": "{SCHEMA}"')
        if content["schema"] == SCHEMA:
            yield cast("DetectionRecord", content)


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


def _scores(values: Any) -> NDArray[np.float64]:
    """Return scores in 0..1 of whatever a model has made; to 4 decimals."""
    finite = np.nan_to_num(np.asarray(values, np.float64), posinf=1.0, neginf=0.0)
    return np.clip(finite, 0.0, 1.0).round(4)


def _ranked(scores: NDArray[np.float64], phrases: Sequence[str]) -> list[list[PhraseScore]]:
    """Return for each row of (N, P) `scores` its best phrases, without those that score nothing."""
    # Stable: phrases of one score stay in the prompt's order, so that a record is the same on every machine.
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
