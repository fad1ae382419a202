"""COCO-VID/TAO JSON, built beside the file while the run lasts and put together at its end.

While it runs, rows go to `NAME.part`, one JSON object per line: `{"images":{...}}`, `{"annotations":{...}}`
and so on, so that memory stays flat. `close` turns them into one JSON document. A killed run leaves the part
file, from which `finish_coco` makes the document of all frames that were written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from groundstream.operators.errors import OutputError
from groundstream.operators.frames import FrameResult
from groundstream.operators.records.coco import CocoRows, Row, coco_tracks
from groundstream.operators.records.detection import json_text, shared_record
from groundstream.operators.sinks.base import Sink
from groundstream.operators.sinks.record_files import RecordFile, output_error

_LISTS = ("videos", "categories", "images", "annotations")


class CocoSink(Sink):
    """Writes confirmed objects as COCO-VID/TAO JSON, as `records.coco.CocoRows` numbers them.

    Args:
        path: the file that is there once the sink is closed.
        keep_bytes: so much of an old part file is kept, and continued.

    Raises:
        OutputError: the file or the part file beside it cannot be written.
    """

    name = "coco"

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder; name a file in it")
        self._path = path
        self._part_path = path.with_name(path.name + ".part")
        self._part = RecordFile(self._part_path, keep_bytes)
        self._rows = CocoRows()
        for kind, row in _rows_of(self._part_path):
            self._rows.count(kind, row)
        self._closed = False

    def write(self, result: FrameResult) -> None:
        """Write the rows of one frame to the part file."""
        rows = [json_text({kind: row}) + "\n" for kind, row in self._rows.add(shared_record(result))]
        self._part.write_text("".join(rows))

    def close(self) -> None:
        """Put the document together and remove the part file; may be called twice.

        Raises:
            OutputError: there is no room for the document; the part file is kept.
        """
        if self._closed:
            return
        self._closed = True
        self._part.close()
        finish_coco(self._part_path, self._path)
        self._part_path.unlink()


def finish_coco(part: Path, path: Path) -> None:
    """Make the JSON document `path` of the rows in `part`; a last line that was cut by a kill is left out.

    Raises:
        OutputError: `path` cannot be written; `part` is as it was.
    """
    building = path.with_name(path.name + ".tmp")
    try:
        try:
            with building.open("w", encoding="utf-8") as document:
                for text in _document(part):
                    document.write(text)
            building.replace(path)
        finally:
            building.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{output_error(path, error)}; all rows are kept in {part}") from error


def _rows_of(part: Path) -> Iterator[tuple[str, Row]]:
    with part.open(encoding="utf-8") as lines:
        for line in lines:
            yield from json.loads(line).items()


def _document(part: Path) -> Iterator[str]:
    yield "{"
    for kind in _LISTS:
        yield from _list(kind, _bodies(part, kind))
        yield ","
    annotations: Iterator[Row] = (json.loads(body) for body in _bodies(part, "annotations"))
    yield from _list("tracks", (json_text(row) for row in coco_tracks(annotations)))
    yield "}\n"


def _list(name: str, bodies: Iterator[str]) -> Iterator[str]:
    yield f'"{name}":['
    comma = ""
    for body in bodies:
        yield f"{comma}\n{body}"
        comma = ","
    yield "]"


def _bodies(part: Path, kind: str) -> Iterator[str]:
    """Yield the JSON of each row of `kind` as it stands, without reading it."""
    head = f'{{"{kind}":'
    with part.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(head) and line.endswith("}\n"):
                yield line[len(head) : -2]
