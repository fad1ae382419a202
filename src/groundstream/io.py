"""Records and events of a run, read again, and in the shapes that other tools read.

from groundstream import io

for record in io.read_records("out/detections.jsonl"):
    print(record["time_s"], [each["phrase"] for each in record["objects"]])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundstream.operators.utils.lazy import lazy_names

if TYPE_CHECKING:
    from groundstream.operators.events.event import Event, Sighting
    from groundstream.operators.records.coco import from_coco, to_coco
    from groundstream.operators.records.detection import (
        DetectionRecord,
        ObjectRecord,
        from_record,
        read_records,
    )
    from groundstream.operators.records.event import EventRecord, event_from_record, event_record, read_events
    from groundstream.operators.records.frigate import (
        event_from_frigate,
        event_to_frigate,
        from_frigate,
        to_frigate,
    )
    from groundstream.operators.records.mot import from_mot, to_mot
    from groundstream.operators.sinks.coco import finish_coco

__all__ = [
    "DetectionRecord",
    "Event",
    "EventRecord",
    "ObjectRecord",
    "Sighting",
    "event_from_frigate",
    "event_from_record",
    "event_record",
    "event_to_frigate",
    "finish_coco",
    "from_coco",
    "from_frigate",
    "from_mot",
    "from_record",
    "read_events",
    "read_records",
    "to_coco",
    "to_frigate",
    "to_mot",
]

_HOMES = {
    "events.event": ("Event", "Sighting"),
    "records.coco": ("from_coco", "to_coco"),
    "records.detection": ("DetectionRecord", "ObjectRecord", "from_record", "read_records"),
    "records.event": ("EventRecord", "event_from_record", "event_record", "read_events"),
    "records.frigate": ("event_from_frigate", "event_to_frigate", "from_frigate", "to_frigate"),
    "records.mot": ("from_mot", "to_mot"),
    "sinks.coco": ("finish_coco",),
}

__getattr__ = lazy_names(
    __name__, {name: f"groundstream.operators.{place}" for place, names in _HOMES.items() for name in names}
)
