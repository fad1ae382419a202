"""Events that no rule made, for tests of where they go."""

from __future__ import annotations

from typing import Any

from groundstream.operators.events.event import Event, EventType, Sighting


def sighting(seq: int = 0, **more: Any) -> Sighting:
    """Return a state in frame `seq`."""
    values: dict[str, Any] = {
        "epoch": 1,
        "seq": seq,
        "time_s": seq / 30,
        "wall_time": 1_700_000_000.25 + seq / 30,
        "track_id": "cam:1:7",
        "phrase": "狗",
        "score": 0.81234567,
        "box": (10.126, 20.0, 110.0, 220.5),
        "box_norm": (10.126 / 640, 20 / 360, 110 / 640, 220.5 / 360),
        "zones": ("yard", "door"),
        "values": {"dwell_s": 1.5, "how": "left", "count": 3},
    }
    return Sighting(**(values | more))


def event(type: EventType = "new", seq: int = 0, **more: Any) -> Event:
    """Return a message about event `1700000000.250000-0000abcd` (or another `id`)."""
    values: dict[str, Any] = {
        "id": "1700000000.250000-0000abcd",
        "stream_id": "cam",
        "kind": "zone_enter",
        "rule": "yard",
        "before": None if type == "new" else sighting(0),
        "after": sighting(seq),
        "start_s": 0.0,
        "end_s": seq / 30 if type == "end" else None,
        "best": sighting(seq, score=0.9),
    }
    return Event(type=type, **(values | more))


def count_event(type: EventType = "new", seq: int = 0) -> Event:
    """Return a message about an event that is of no object."""
    nobody = sighting(seq, track_id=None, box=None, box_norm=None, score=0.0, phrase="", values={"count": 4})
    return event(type, seq, kind="count", rule="crowd", after=nobody, best=None)
