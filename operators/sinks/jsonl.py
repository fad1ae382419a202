"""One JSON object per line, for every frame and every event, to a file or to standard output."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult
from groundstream.operators.records import event_record
from groundstream.operators.records.detection import json_bytes, shared_json
from groundstream.operators.sinks.base import Sink
from groundstream.operators.sinks.record_file import RecordFile


class JsonlSink(Sink):
    """Writes records of frames (`groundstream.detection/1`, objects of every state) and of events.

    Args:
        path: the file; `-` is standard output.
        only: the one kind of records that the file is for; None writes both, in the order in which they come.
        keep_bytes: so much of an old file is kept, and continued.

    Raises:
        OutputError: the file cannot be opened.
    """

    name = "jsonl"

    def __init__(
        self, path: Path, only: Literal["detections", "events"] | None = None, keep_bytes: int = 0
    ) -> None:
        self._file = RecordFile(path, keep_bytes)
        self._only = only

    def write(self, result: FrameResult) -> None:
        """Write one line, which is with the operating system when this returns."""
        if self._only != "events":
            self._file.write(shared_json(result) + b"\n")

    def write_event(self, event: Event) -> None:
        """Write one line, which is with the operating system when this returns."""
        if self._only != "detections":
            self._file.write(json_bytes(event_record(event)) + b"\n")

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()
