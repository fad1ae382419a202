"""One JSON object per line and frame, to a file or to standard output."""

from __future__ import annotations

import json
from pathlib import Path

from groundstream.operators.frames import FrameResult
from groundstream.operators.schema import record
from groundstream.operators.sink_base import RecordSink
from groundstream.operators.sink_file import RecordFile


def json_text(content: object) -> str:
    """Return `content` as JSON on one line, without spaces.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class JsonlSink(RecordSink):
    """Writes `groundstream.detection/1` records of all objects, whatever their state.

    Args:
        path: the file; `-` is standard output.

    Raises:
        OutputError: the file cannot be opened.
    """

    name = "jsonl"

    def __init__(self, path: Path) -> None:
        self._file = RecordFile(path)

    def write(self, result: FrameResult) -> None:
        """Write one line, which is with the operating system when this returns."""
        self._file.write(json_text(record(result)) + "\n")

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()
