"""Questions to the indexes of one stream or many: what was seen when, and where the video of it is."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from groundstream.operators.clips.timeline import Observation
from groundstream.operators.events.event import Event, EventKind
from groundstream.operators.recording.files import RecordedFile
from groundstream.operators.recording.index import INDEX, read_index, unpack_objects
from groundstream.operators.records.event import event_from_record


@dataclass(frozen=True)
class IndexedEvent:
    """An event as its last message has it.

    Attributes:
        event: the event.
        start_wall: seconds since 1970 (UTC) at its beginning.
        end_wall: the same at its end; None while it lasts, or where a killed run left it open.
    """

    event: Event
    start_wall: float
    end_wall: float | None


@dataclass(frozen=True)
class IndexedTrack:
    """A track under one of the phrases that it answered to.

    Attributes:
        stream_id: the stream.
        track_id: `stream:epoch:n`; distinct within one run.
        phrase: the phrase.
        score: the best score, 0..1.
        box: where it had that score: xyxy in parts of the upright picture, 0..1.
        first_wall: seconds since 1970 (UTC) when it was seen first.
        last_wall: the same when it was seen last.
        first_s: media time in seconds when it was seen first.
        last_s: the same when it was seen last.
        best_s: the same of the best score.
    """

    stream_id: str
    track_id: str
    phrase: str
    score: float
    box: tuple[float, float, float, float]
    first_wall: float
    last_wall: float
    first_s: float
    last_s: float
    best_s: float


@dataclass(frozen=True)
class IndexedRecording:
    """A file of a recording, and where the index has what was seen in it.

    Attributes:
        file: the file.
        index: the index that it is in.
        run: which run of the program recorded it; epochs and media times are distinct within one.
    """

    file: RecordedFile
    index: Path
    run: int


def find_indexes(folder: Path) -> list[Path]:
    """Return the indexes in `folder`: its own, or those of the streams in it."""
    own = folder / INDEX
    return [own] if own.exists() else sorted(folder.glob(f"*/{INDEX}"))


def query_events(
    folder: Path,
    *,
    since: float | None = None,
    until: float | None = None,
    phrase: str | None = None,
    stream: str | None = None,
    kind: EventKind | None = None,
) -> list[IndexedEvent]:
    """Return the events that lie, at least in part, between `since` and `until`, in the order of their start.

    Args:
        folder: of one stream, or of many.
        since: seconds since 1970 (UTC); None begins with the oldest.
        until: the same; None ends with the newest.
        phrase: only events of this phrase, in any case.
        stream: only events of this stream.
        kind: only events of this kind.

    Raises:
        OutputError: an index cannot be read.
    """
    sql = (
        "SELECT record, start_wall, end_wall FROM events JOIN runs USING (run) WHERE start_wall < ?2 "
        "AND coalesce(end_wall, start_wall) >= ?1 AND folded(phrase) = coalesce(?3, folded(phrase)) "
        "AND stream_id = coalesce(?4, stream_id) AND kind = coalesce(?5, kind)"
    )
    rows = _rows(folder, sql, since, until, _folded(phrase), stream, kind)
    found = [IndexedEvent(event_from_record(json.loads(row[0])), row[1], row[2]) for _, row in rows]
    return sorted(found, key=lambda event: event.start_wall)


def query_tracks(
    folder: Path,
    *,
    since: float | None = None,
    until: float | None = None,
    phrase: str | None = None,
    stream: str | None = None,
) -> list[IndexedTrack]:
    """Return what was seen between `since` and `until`, in the order of its first sight.

    A track that answered to several phrases is there once for each. Arguments and errors are those of
    `query_events`.
    """
    sql = (
        "SELECT stream_id, track_id, phrase, score, box, first_wall, last_wall, first_s, last_s, best_s "
        "FROM tracks JOIN runs USING (run) WHERE first_wall < ?2 AND last_wall >= ?1 "
        "AND folded(phrase) = coalesce(?3, folded(phrase)) AND stream_id = coalesce(?4, stream_id)"
    )
    rows = _rows(folder, sql, since, until, _folded(phrase), stream)
    found = [
        IndexedTrack(row[0], row[1], row[2], row[3], tuple(json.loads(row[4])), *row[5:10]) for _, row in rows
    ]
    return sorted(found, key=lambda track: track.first_wall)


def segments_between(
    folder: Path, *, since: float | None = None, until: float | None = None, stream: str | None = None
) -> list[IndexedRecording]:
    """Return the recorded files with video between `since` and `until`, in the order of their start.

    A file that is still being written is not among them. Arguments and errors are those of `query_events`.
    """
    sql = (
        "SELECT path, stream_id, epoch, start_s, end_s, start_wall, bytes, run FROM recordings "
        "JOIN runs USING (run) WHERE start_wall < ?2 AND end_wall > ?1 "
        "AND stream_id = coalesce(?3, stream_id)"
    )
    found = [
        IndexedRecording(RecordedFile(index.parent / row[0], *row[1:7]), index, row[7])
        for index, row in _rows(folder, sql, since, until, stream)
    ]
    return sorted(found, key=lambda recording: recording.file.start_wall)


def frames_between(recording: IndexedRecording, start_s: float, end_s: float) -> list[Observation]:
    """Return what was seen in a recorded file from `start_s` to before `end_s`, in media time.

    Frames in which nothing was seen, as the one before, are left out.

    Raises:
        OutputError: the index cannot be read.
    """
    sql = (
        "SELECT time_s, objects FROM frames WHERE run = ? AND epoch = ? AND time_s >= ? AND time_s < ? "
        "ORDER BY time_s"
    )
    epoch = recording.file.epoch
    with contextlib.closing(read_index(recording.index)) as connection:
        rows = connection.execute(sql, (recording.run, epoch, start_s, end_s)).fetchall()
    return [Observation(epoch, time_s, tuple(unpack_objects(packed))) for time_s, packed in rows]


def _rows(
    folder: Path, sql: str, since: float | None, until: float | None, *values: str | None
) -> Iterator[tuple[Path, sqlite3.Row]]:
    """Ask all indexes in `folder`; the first two values are the time range."""
    ends = (-1e15 if since is None else since, 1e15 if until is None else until)
    for index in find_indexes(folder):
        with contextlib.closing(read_index(index)) as connection:
            for row in connection.execute(sql, (*ends, *values)).fetchall():
                yield index, row


def _folded(phrase: str | None) -> str | None:
    return None if phrase is None else phrase.casefold()
