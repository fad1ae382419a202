"""What was seen and kept of a stream, and when: one SQLite file, written beside the hot path."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundstream.operators.clips.timeline import Look, look_of
from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult, SeenObject
from groundstream.operators.recording.index_tables import open_index, pack_objects
from groundstream.operators.records.event import event_record
from groundstream.operators.video.recorded import RecordedFile

#: So much of what was seen may be lost with the process, and is not yet seen by readers.
COMMIT_S = 1.0
_MOST_WAITING = 20_000
#: Rows that are kept at most; the oldest go.
_MOST_ROWS = {"frames": 5_000_000, "tracks": 200_000, "events": 200_000}
_COMMITS_PER_TRIM = 60

_Statement = tuple[str, tuple[Any, ...]]

_ADD_TRACK = """
INSERT INTO tracks (run, track_id, phrase, epoch, first_s, last_s, first_wall, last_wall, score, best_s, box)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run, track_id, phrase) DO UPDATE SET
    last_s = max(last_s, excluded.last_s), last_wall = max(last_wall, excluded.last_wall),
    best_s = iif(excluded.score > score, excluded.best_s, best_s),
    box = iif(excluded.score > score, excluded.box, box), score = max(score, excluded.score)
"""
_ADD_EVENT = """
INSERT INTO events (id, run, kind, phrase, start_wall, end_wall, record) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET end_wall = excluded.end_wall, record = json_set(
    excluded.record, '$.clip', coalesce(excluded.record ->> 'clip', record ->> 'clip'))
"""


@dataclass(frozen=True)
class IndexedClip:
    """A finished clip, as the index knows it.

    Attributes:
        path: its annotated video.
        epoch: the stream's epoch.
        start_s: media time of its first frame in seconds.
        end_s: media time of its last frame in seconds.
        start_wall: seconds since 1970 (UTC) at `start_s`.
        end_wall: the same at `end_s`.
        events: ids of its events.
    """

    path: Path
    epoch: int
    start_s: float
    end_s: float
    start_wall: float
    end_wall: float
    events: tuple[str, ...]


@dataclass
class _Sightings:
    """What was seen of one track under one phrase since the last commit."""

    epoch: int
    first_s: float
    first_wall: float
    last_s: float
    last_wall: float
    best: SeenObject
    best_s: float


class IndexWriter:
    """Writes the index of one stream, in a thread of its own; its methods may be called from any thread.

    Rows are committed together, a second apart at most; events, files and clips at once. Where the disk
    fails, rows are lost and counted; nothing else is disturbed.

    Attributes:
        path: the file.
        lost: rows that could not be written, or came faster than the disk takes them.

    Args:
        path: the file; made when it is not there.
        stream_id: the stream.
        keep_looks: what was seen in every frame is kept, too, as long as its recording; for `export`.

    Raises:
        OutputError: it cannot be written, or another version of groundstream made it.
    """

    def __init__(self, path: Path, stream_id: str, *, keep_looks: bool) -> None:
        self.lost = 0
        self.path, self._keep_looks = path, keep_looks
        self._connection = open_index(path)
        with self._connection:
            made = self._connection.execute(
                "INSERT INTO runs (stream_id, started_wall) VALUES (?, ?)", (stream_id, time.time())
            )
        self._run_id = made.lastrowid
        self._queue: deque[_Statement] = deque()
        self._tracks: dict[tuple[str, str], _Sightings] = {}
        self._saw_objects = False
        self._change = threading.Condition()
        self._closing, self._asked, self._done, self._commits = False, 0, 0, 0
        self._log = logging.getLogger(f"groundstream.stream.{stream_id}")
        self._thread = threading.Thread(target=self._run, name=f"index {stream_id}", daemon=True)
        self._thread.start()

    def add_result(self, result: FrameResult) -> None:
        """Note what was seen in a frame."""
        look = look_of(result)
        if look is None:
            return
        statements: list[_Statement] = []
        # Of frames without objects one is enough: it says that the tracks before it were not there.
        if self._keep_looks and (look.objects or self._saw_objects):
            sql = "INSERT INTO frames (run, epoch, time_s, objects) VALUES (?, ?, ?, ?)"
            statements.append((sql, (self._run_id, look.epoch, look.time_s, pack_objects(look.objects))))
        self._saw_objects = bool(look.objects)
        with self._change:
            self._note(look, result.frame.wall_time)
            self._put(statements)

    def add_event(self, event: Event) -> None:
        """Note the newest state of an event."""
        start_wall = event.after.wall_time - (event.after.time_s - event.start_s)
        end_wall = None if event.end_s is None else start_wall + event.end_s - event.start_s
        record = json.dumps(event_record(event), ensure_ascii=False)
        row = (event.id, self._run_id, event.kind, event.after.phrase, start_wall, end_wall, record)
        with self._change:
            self._put([(_ADD_EVENT, row)])
            self._commit_now()

    def add_file(self, file: RecordedFile, *, salvaged: bool = False) -> None:
        """Note a finished file of the recording; a salvaged one belongs to the run that wrote it last."""
        by_time = "coalesce((SELECT max(run) FROM runs WHERE started_wall <= ?), (SELECT min(run) FROM runs))"
        run = by_time if salvaged else "?"
        sql = f"INSERT OR REPLACE INTO recordings VALUES (?, {run}, ?, ?, ?, ?, ?, ?)"  # noqa: S608 -- constants
        row = (file.epoch, file.start_s, file.end_s, file.start_wall, file.end_wall, file.size_bytes)
        with self._change:
            self._put([(sql, (self._name(file.path), _written(file) if salvaged else self._run_id, *row))])
            self._commit_now()

    def add_clip(self, clip: IndexedClip) -> None:
        """Note a finished clip, also in its events."""
        row = (clip.epoch, clip.start_s, clip.end_s, clip.start_wall, clip.end_wall, json.dumps(clip.events))
        sql = "INSERT OR REPLACE INTO clips VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        named = "UPDATE events SET record = json_set(record, '$.clip', ?) WHERE id = ?"
        with self._change:
            self._put([(sql, (self._name(clip.path), self._run_id, *row))])
            self._put([(named, (clip.path.name, event)) for event in clip.events])
            self._commit_now()

    def forget_file(self, path: Path) -> None:
        """Take out a file of the recording that is gone, with what was seen in it."""
        name = self._name(path)
        within = "EXISTS (SELECT 1 FROM recordings AS r WHERE r.path = ? AND r.run = {0}.run AND {1})"
        in_file = "r.epoch = {0}.epoch AND {0}.{1} >= r.start_s AND {0}.{1} < r.end_s"
        statements: list[_Statement] = [
            (f"DELETE FROM {table} WHERE {within.format(table, condition)}", (name,))  # noqa: S608 -- constants
            for table, condition in (
                ("frames", in_file.format("frames", "time_s")),
                ("tracks", in_file.format("tracks", "last_s")),
                ("events", "events.end_wall >= r.start_wall AND events.end_wall < r.end_wall"),
            )
        ]
        # An event stays as long as its clip.
        statements[-1] = (f"{statements[-1][0]} AND record ->> 'clip' IS NULL", (name,))
        with self._change:
            self._put([*statements, ("DELETE FROM recordings WHERE path = ?", (name,))])

    def forget_clip(self, path: Path) -> None:
        """Take out a clip that is gone, with its events."""
        name = self._name(path)
        events = "DELETE FROM events WHERE record ->> 'clip' = ?"
        with self._change:
            self._put([(events, (path.name,)), ("DELETE FROM clips WHERE path = ?", (name,))])

    def unname_clip(self, name: str) -> None:
        """Take the name of a clip that was never made out of its events."""
        sql = "UPDATE events SET record = json_set(record, '$.clip', NULL) WHERE record ->> 'clip' = ?"
        with self._change:
            self._put([(sql, (name,))])

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until all that was added so far can be read; False when that takes too long."""
        with self._change:
            self._commit_now()
            asked = self._asked
            return self._change.wait_for(lambda: self._done >= asked, timeout_s)

    def close(self, timeout_s: float = 30.0) -> None:
        """Write what waits and close the file; may be called twice."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join(timeout_s)

    def _commit_now(self) -> None:
        """What is seldom and matters does not wait for the next second."""
        self._asked += 1
        self._change.notify_all()

    def _name(self, path: Path) -> str:
        """Return `path` as seen from the index, so that the folder can be moved as a whole."""
        return os.path.relpath(path, self.path.parent)

    def _put(self, statements: Sequence[_Statement]) -> None:
        self._queue.extend(statements)
        while len(self._queue) > _MOST_WAITING:
            self._queue.popleft()
            self.lost += 1

    def _note(self, look: Look, wall: float) -> None:
        for seen in look.objects:
            if not seen.track_id:
                continue
            noted = self._tracks.get((seen.track_id, seen.phrase))
            if noted is None:
                noted = _Sightings(look.epoch, look.time_s, wall, look.time_s, wall, seen, look.time_s)
                self._tracks[seen.track_id, seen.phrase] = noted
            noted.last_s, noted.last_wall = look.time_s, wall
            if seen.score > noted.best.score:
                noted.best, noted.best_s = seen, look.time_s

    def _run(self) -> None:
        closing = False
        while not closing:
            with self._change:
                self._change.wait_for(lambda: self._closing or self._asked > self._done, COMMIT_S)
                closing, asked = self._closing, self._asked
                statements, self._queue = list(self._queue), deque()
                tracks, self._tracks = self._tracks, {}
            self._write([*statements, *self._track_rows(tracks)])
            with self._change:
                self._done = asked
                self._change.notify_all()
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _track_rows(self, tracks: dict[tuple[str, str], _Sightings]) -> list[_Statement]:
        rows: list[_Statement] = []
        for (track_id, phrase), seen in tracks.items():
            times = (seen.first_s, seen.last_s, seen.first_wall, seen.last_wall)
            best = (seen.best.score, seen.best_s, json.dumps(seen.best.box))
            rows.append((_ADD_TRACK, (self._run_id, track_id, phrase, seen.epoch, *times, *best)))
        return rows

    def _write(self, statements: Sequence[_Statement]) -> None:
        """Commit `statements` together; where that fails they are lost."""
        if not statements:
            return
        try:
            with self._connection:
                for sql, values in statements:
                    self._connection.execute(sql, values)
                self._commits += 1
                if self._commits % _COMMITS_PER_TRIM == 0:
                    self._trim()
        except sqlite3.Error as error:
            if self.lost == 0:
                self._log.warning("the index %s cannot be written: %s; rows are lost", self.path, error)
            self.lost += len(statements)

    def _trim(self) -> None:
        for table, most in _MOST_ROWS.items():
            sql = f"DELETE FROM {table} WHERE rowid <= (SELECT max(rowid) FROM {table}) - ?"  # noqa: S608
            self._connection.execute(sql, (most,))


def _written(file: RecordedFile) -> float:
    """Return when a file was written last; its first picture may be older than its run."""
    with contextlib.suppress(OSError):
        return file.path.stat().st_mtime
    return file.start_wall
