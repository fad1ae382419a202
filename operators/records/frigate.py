"""Frames and events to and from the shape of Frigate's MQTT messages (topic `frigate/events`).

Its times are seconds since 1970, its boxes whole pixels. Frigate's messages are about one tracked object: an
event without one (a count, a recording) has no such shape. What Frigate has no word for stands in
`groundstream` beside `before` and `after`; its own messages lack that, and come back as an `appear`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import supervision as sv

from groundstream.operators.events.event import Event, EventType, Sighting
from groundstream.operators.records.detection import DetectionRecord
from groundstream.operators.utils.times import from_rfc3339

Row = dict[str, Any]

_TYPES: dict[str, EventType] = {"new": "new", "update": "update", "end": "end"}


def to_frigate(
    kind: Literal["new", "update", "end"], before: DetectionRecord, after: DetectionRecord, track_id: str
) -> Row:
    """Return the payload of a message like those on Frigate's MQTT topic `frigate/events`.

    Args:
        kind: what happened to the track.
        before: the frame that the last message was about; `after` itself for a new track.
        after: the frame that this message is about.
        track_id: the track; both frames hold it.

    Raises:
        ValueError: one of the frames does not hold the track.
    """
    old, new = _frigate_state(before, track_id), _frigate_state(after, track_id)
    new["top_score"] = max(old["score"], new["score"])
    new["entered_zones"] = list(dict.fromkeys([*old["current_zones"], *new["current_zones"]]))
    new["end_time"] = new["frame_time"] if kind == "end" else None
    return {"type": kind, "before": old, "after": new}


def from_frigate(payload: Mapping[str, Any]) -> sv.Detections:
    """Return the state after the event as one detection, with data fields `phrase` and `track_uid`."""
    state = payload["after"]
    return sv.Detections(
        xyxy=np.array([state["box"]], np.float32),
        confidence=np.array([state["score"]], np.float32),
        class_id=np.zeros(1, int),
        data={"phrase": np.array([state["label"]]), "track_uid": np.array([state["id"]])},
    )


def _frigate_state(record: DetectionRecord, track_id: str) -> Row:
    each = next((each for each in record["objects"] if each["track_id"] == track_id), None)
    if each is None:
        raise ValueError(f"expected frame {record['seq']} to hold track {track_id}, but it does not")
    left, top, right, bottom = (round(value) for value in each["box"])
    now_s = round(from_rfc3339(record["wall_time"]), 3)
    return {
        "id": track_id,
        "camera": record["stream_id"],
        "frame_time": now_s,
        "start_time": round(now_s - each["age_s"], 3),
        "end_time": None,
        "label": each["phrase"],
        "sub_label": None,
        "score": each["score"],
        "top_score": each["score"],
        "false_positive": each["state"] == "tentative",
        "box": [left, top, right, bottom],
        "area": (right - left) * (bottom - top),
        "current_zones": list(each["zones"]),
        "entered_zones": list(each["zones"]),
        "has_clip": False,
        "has_snapshot": False,
    }


def event_to_frigate(event: Event) -> Row:
    """Return a message about an event as Frigate would send it.

    Raises:
        ValueError: the event is of no object, or its state holds no box.
    """
    before = _event_state(event, event.before or event.after)
    after = _event_state(event, event.after)
    after["end_time"] = None if event.end_s is None else _wall(event, event.end_s)
    if event.before is not None:
        after["entered_zones"] = list(dict.fromkeys([*before["current_zones"], *after["current_zones"]]))
    own = {
        "kind": event.kind,
        "rule": event.rule,
        "start_s": event.start_s,
        "end_s": event.end_s,
        "truncated": event.truncated,
        "before": _beyond(event.before),
        "after": _beyond(event.after),
        "best": _beyond(event.best),
    }
    return {"type": event.type, "before": before, "after": after, "groundstream": own}


def event_from_frigate(payload: Mapping[str, Any]) -> Event:
    """Return the event of a message: one of ours, to whole pixels and milliseconds, or one of Frigate's own.

    Frigate's own ids, times and objects take the place of what it has no word for: media times are seconds
    since 1970, the object's id is its track.

    Raises:
        ValueError: the message is no such event.
    """
    try:
        before, after = payload["before"], payload["after"]
        own = payload.get("groundstream", {})
        kind = _TYPES[payload["type"]]
        return Event(
            id=after["id"],
            stream_id=after["camera"],
            kind=own.get("kind", "appear"),
            type=kind,
            rule=own.get("rule", "frigate"),
            before=None if kind == "new" else _from_state(before, own.get("before")),
            after=_from_state(after, own.get("after")),
            start_s=own.get("start_s", after["start_time"]),
            end_s=own.get("end_s", after["end_time"]),
            best=_from_state(after | {"score": after["top_score"]}, own.get("best")),
            truncated=own.get("truncated"),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected a message of Frigate's topic events, but got none: {error!r}") from error


def _event_state(event: Event, seen: Sighting) -> Row:
    if seen.box is None or seen.box_norm is None:
        raise ValueError(f"expected an event of an object, but event {event.id} ({event.kind}) is of none")
    left, top, right, bottom = (round(value) for value in seen.box)
    best = event.best.score if event.best else seen.score
    return {
        "id": event.id,
        "camera": event.stream_id,
        "frame_time": round(seen.wall_time, 3),
        "start_time": _wall(event, event.start_s),
        "end_time": None,
        "label": seen.phrase,
        "sub_label": None,
        "score": round(seen.score, 4),
        "top_score": round(max(best, seen.score), 4),
        "false_positive": False,
        "box": [left, top, right, bottom],
        "area": (right - left) * (bottom - top),
        "ratio": round((right - left) / max(1, bottom - top), 2),
        "current_zones": list(seen.zones),
        "entered_zones": list(seen.zones),
        "has_clip": event.clip is not None,
        "has_snapshot": False,
    }


def _wall(event: Event, time_s: float) -> float:
    """Return a media time as seconds since 1970, by the state that has both."""
    return round(event.after.wall_time + time_s - event.after.time_s, 3)


def _beyond(seen: Sighting | None) -> Row | None:
    """Return what Frigate's state has no place for."""
    if seen is None:
        return None
    return {
        "epoch": seen.epoch,
        "seq": seen.seq,
        "time_s": seen.time_s,
        "track_id": seen.track_id,
        "box_norm": None if seen.box_norm is None else list(seen.box_norm),
        "values": dict(seen.values),
    }


def _from_state(state: Mapping[str, Any], own: Mapping[str, Any] | None) -> Sighting:
    left, top, right, bottom = state["box"]
    own = own or {}
    parts = own.get("box_norm")
    return Sighting(
        epoch=own.get("epoch", 1),
        seq=own.get("seq", 0),
        time_s=own.get("time_s", state["frame_time"]),
        wall_time=state["frame_time"],
        track_id=own.get("track_id", state["id"]),
        phrase=state["label"],
        score=state["score"],
        box=(left, top, right, bottom),
        box_norm=None if parts is None else (parts[0], parts[1], parts[2], parts[3]),
        zones=tuple(state["current_zones"]),
        values=own.get("values", {}),
    )
