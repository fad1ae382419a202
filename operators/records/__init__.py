"""Results and events as records that are ready for JSON, and in the shapes of other tools.

`detection` and `event` make, check and read records, each beside its JSON Schema; `mot`, `coco` and `frigate`
turn them into what other tools read, and back. For users all of it is `groundstream.io`.
"""

from groundstream.operators.records.detection import DetectionRecord, read_records, record
from groundstream.operators.records.event import EventRecord, event_record, read_events

__all__ = ["DetectionRecord", "EventRecord", "event_record", "read_events", "read_records", "record"]
