"""MOTChallenge text: what evaluation tools of trackers read."""

from __future__ import annotations

from pathlib import Path

from groundstream.operators.frames import FrameResult
from groundstream.operators.records.detection import shared_record
from groundstream.operators.records.mot import to_mot
from groundstream.operators.sinks.base import Sink
from groundstream.operators.sinks.record_file import RecordFile


class MotSink(Sink):
    """Writes one line per confirmed object, as `records.mot.to_mot` has it.

    Args:
        path: the file; `-` is standard output.
        keep_bytes: so much of an old file is kept, and continued.

    Raises:
        OutputError: the file cannot be opened.
    """

    name = "mot"

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        self._file = RecordFile(path, keep_bytes)

    def write(self, result: FrameResult) -> None:
        """Write one line per confirmed object."""
        if lines := to_mot(shared_record(result)):
            self._file.write_text("\n".join(lines) + "\n")

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()
