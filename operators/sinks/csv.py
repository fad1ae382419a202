"""One row per confirmed object: supervision's columns, then ours."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from groundstream.operators.frames import FrameResult
from groundstream.operators.records.detection import confirmed, number_of, shared_record
from groundstream.operators.sinks.base import Sink
from groundstream.operators.sinks.record_file import RecordFile

COLUMNS = (
    *("x_min", "y_min", "x_max", "y_max", "class_id", "confidence", "tracker_id"),
    *("stream_id", "epoch", "seq", "time_s", "wall_time", "phrase", "track_id", "age_s", "interpolated"),
)


class CsvSink(Sink):
    """Writes the table that supervision's `CSVSink` makes, with columns of ours behind.

    `class_id` is the number of the phrase in the prompt of that frame, from 0; `tracker_id` the track's
    number as `records.detection.track_number` gives it. Pixels are xyxy from the top left corner.

    Args:
        path: the file; `-` is standard output.
        keep_bytes: so much of an old file is kept, and continued.

    Raises:
        OutputError: the file cannot be opened.
    """

    name = "csv"

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        self._file = RecordFile(path, keep_bytes)
        if not keep_bytes:
            self._file.write_text(_lines([COLUMNS]))

    def write(self, result: FrameResult) -> None:
        """Write one row per confirmed object."""
        made, phrases = shared_record(result), result.prompt.phrases
        of_frame = [made[name] for name in ("stream_id", "epoch", "seq", "time_s", "wall_time")]
        rows = [
            (
                *(*each["box"], phrases.index(each["phrase"]), each["score"], number_of(each)),
                *(*of_frame, each["phrase"], each["track_id"], each["age_s"], each["interpolated"]),
            )
            for each in confirmed(made)
        ]
        if rows:
            self._file.write_text(_lines(rows))

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()


def _lines(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
