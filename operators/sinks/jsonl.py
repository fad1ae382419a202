"""One JSON object per line, for every frame and every event, to a file or to standard output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult
from groundstream.operators.records.detection import record
from groundstream.operators.records.event import event_record
from groundstream.operators.sinks.base import RecordSink
from groundstream.operators.sinks.record_file import RecordFile


def json_text(content: object) -> str:
    """Return `content` as JSON on one line, without spaces.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_bytes(content: object) -> bytes:
    """Return `content` as `json_text` does, in UTF-8; what is no UTF-8 in a name is escaped as JSON does.

    Raises:
        ValueError: a number is not finite.
    """
    return json_text(content).encode("utf-8", "backslashreplace")


class JsonlSink(RecordSink):
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
            self._file.write(json_text(record(result)) + "\n")

    def write_event(self, event: Event) -> None:
        """Write one line, which is with the operating system when this returns."""
        if self._only != "detections":
            self._file.write(json_text(event_record(event)) + "\n")

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()
