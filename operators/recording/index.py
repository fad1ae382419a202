"""What was seen and kept of a stream, and when: one SQLite file, its tables and the thread that writes it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundstream.operators.clips.timeline import Observation, observation_of
from groundstream.operators.errors import OutputError
from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult, SeenObject
from groundstream.operators.recording.files import RecordedFile
from groundstream.operators.records import event_record
from groundstream.operators.utils.worker import Worker

#: Name of the index in a stream's folder.
INDEX = "index.sqlite"
_VERSION = 1
_BUSY_S = 10.0
_TABLES = """
CREATE TABLE runs (run INTEGER PRIMARY KEY, stream_id TEXT NOT NULL, started_wall REAL NOT NULL);
CREATE TABLE recordings (
    path TEXT PRIMARY KEY, run INTEGER NOT NULL, epoch INTEGER NOT NULL, start_s REAL NOT NULL,
    end_s REAL NOT NULL, start_wall REAL NOT NULL, end_wall REAL NOT NULL, bytes INTEGER NOT NULL
);
CREATE INDEX recordings_by_time ON recordings (start_wall);
CREATE TABLE tracks (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, track_id TEXT NOT NULL, phrase TEXT NOT NULL,
    epoch INTEGER NOT NULL, first_s REAL NOT NULL, last_s REAL NOT NULL, first_wall REAL NOT NULL,
    last_wall REAL NOT NULL, score REAL NOT NULL, best_s REAL NOT NULL, box TEXT NOT NULL,
    UNIQUE (run, track_id, phrase)
);
CREATE INDEX tracks_by_time ON tracks (last_wall);
CREATE TABLE events (
    id TEXT PRIMARY KEY, run INTEGER NOT NULL, kind TEXT NOT NULL, phrase TEXT NOT NULL,
    start_wall REAL NOT NULL, end_wall REAL, record TEXT NOT NULL
);
CREATE INDEX events_by_time ON events (start_wall);
CREATE TABLE clips (
    path TEXT PRIMARY KEY, run INTEGER NOT NULL, epoch INTEGER NOT NULL, start_s REAL NOT NULL,
    end_s REAL NOT NULL, start_wall REAL NOT NULL, end_wall REAL NOT NULL, events TEXT NOT NULL
);
CREATE INDEX clips_by_time ON clips (start_wall);
CREATE TABLE frames (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, epoch INTEGER NOT NULL, time_s REAL NOT NULL,
    objects BLOB NOT NULL
);
CREATE INDEX frames_by_time ON frames (run, epoch, time_s);
"""

#: So much of what was seen may be lost with the process, and is not yet seen by readers.
COMMIT_S = 1.0
_MOST_WAITING = 20_000
#: Rows that are kept at most; the oldest go.
_MOST_ROWS = {"frames": 5_000_000, "tracks": 200_000, "events": 200_000}
_COMMITS_PER_TRIM = 60
_TRIM = {
    "frames": "DELETE FROM frames WHERE rowid <= (SELECT max(rowid) FROM frames) - ?",
    "tracks": "DELETE FROM tracks WHERE rowid <= (SELECT max(rowid) FROM tracks) - ?",
    "events": "DELETE FROM events WHERE rowid <= (SELECT max(rowid) FROM events) - ?",
}

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
# A file without a run (recovered at the start of a later one) belongs to the newest run that had begun when
# it was written; where clocks went back, to the first.
_ADD_FILE = """
INSERT OR REPLACE INTO recordings VALUES (
    ?, coalesce(?, (SELECT max(run) FROM runs WHERE started_wall <= ?), (SELECT min(run) FROM runs)),
    ?, ?, ?, ?, ?, ?)
"""
_ADD_FRAME = "INSERT INTO frames (run, epoch, time_s, objects) VALUES (?, ?, ?, ?)"
_ADD_CLIP = "INSERT OR REPLACE INTO clips VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_NAME_CLIP = "UPDATE events SET record = json_set(record, '$.clip', ?) WHERE id = ?"
_UNNAME_CLIP = "UPDATE events SET record = json_set(record, '$.clip', NULL) WHERE record ->> 'clip' = ?"
# What was seen in a file goes with it, by the file's name; an event stays as long as its clip.
_FORGET_FILE = (
    """DELETE FROM frames WHERE EXISTS (SELECT 1 FROM recordings AS r WHERE r.path = ? AND r.run = frames.run
    AND r.epoch = frames.epoch AND frames.time_s >= r.start_s AND frames.time_s < r.end_s)""",
    """DELETE FROM tracks WHERE EXISTS (SELECT 1 FROM recordings AS r WHERE r.path = ? AND r.run = tracks.run
    AND r.epoch = tracks.epoch AND tracks.last_s >= r.start_s AND tracks.last_s < r.end_s)""",
    """DELETE FROM events WHERE EXISTS (SELECT 1 FROM recordings AS r WHERE r.path = ? AND r.run = events.run
    AND events.end_wall >= r.start_wall AND events.end_wall < r.end_wall) AND record ->> 'clip' IS NULL""",
    "DELETE FROM recordings WHERE path = ?",
)


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
        keep_observations: what was seen in every frame is kept, too, as long as its recording; for `export`.

    Raises:
        OutputError: it cannot be written, or another version of groundstream made it.
    """

    def __init__(self, path: Path, stream_id: str, *, keep_observations: bool) -> None:
        self.lost = 0
        self.path, self._keep_observations = path, keep_observations
        self._connection = open_index(path)
        with self._connection:
            made = self._connection.execute(
                "INSERT INTO runs (stream_id, started_wall) VALUES (?, ?)", (stream_id, time.time())
            )
        self._run_id = made.lastrowid
        self._queue: deque[_Statement] = deque()
        self._tracks: dict[tuple[str, str], _Sightings] = {}
        self._saw_objects = self._asked = False
        self._lock = threading.Lock()
        self._commits = 0
        self._log = logging.getLogger(f"groundstream.stream.{stream_id}")
        # Its items are requests to commit: the rows lie in a queue of their own, since a commit costs as much
        # as hundreds of rows. Without a request there is one each second.
        self._worker = Worker[threading.Event | None](
            f"index {stream_id}", self._commit, idle=self._commit, idle_s=COMMIT_S, finish=self._finish
        )

    def add_result(self, result: FrameResult) -> None:
        """Note what was seen in a frame."""
        observation = observation_of(result)
        if observation is None:
            return
        statements: list[_Statement] = []
        # Of frames without objects one is enough: it says that the tracks before it were not there.
        if self._keep_observations and (observation.objects or self._saw_objects):
            row = (self._run_id, observation.epoch, observation.time_s, pack_objects(observation.objects))
            statements.append((_ADD_FRAME, row))
        self._saw_objects = bool(observation.objects)
        with self._lock:
            self._note(observation, result.frame.wall_time)
        self._put(statements)

    def add_event(self, event: Event) -> None:
        """Note the newest state of an event."""
        start_wall = event.after.wall_time - (event.after.time_s - event.start_s)
        end_wall = None if event.end_s is None else start_wall + event.end_s - event.start_s
        record = json.dumps(event_record(event), ensure_ascii=False)
        row = (event.id, self._run_id, event.kind, event.after.phrase, start_wall, end_wall, record)
        self._put([(_ADD_EVENT, row)], at_once=True)

    def add_file(self, file: RecordedFile, *, recovered: bool = False) -> None:
        """Note a finished file of the recording; a recovered one belongs to the run that wrote it last."""
        run = (None, _written(file)) if recovered else (self._run_id, None)
        row = (file.epoch, file.start_s, file.end_s, file.start_wall, file.end_wall, file.size_bytes)
        self._put([(_ADD_FILE, (self._name(file.path), *run, *row))], at_once=True)

    def add_clip(self, clip: IndexedClip) -> None:
        """Note a finished clip, also in its events."""
        row = (clip.epoch, clip.start_s, clip.end_s, clip.start_wall, clip.end_wall, json.dumps(clip.events))
        named = [(_NAME_CLIP, (clip.path.name, event)) for event in clip.events]
        self._put([(_ADD_CLIP, (self._name(clip.path), self._run_id, *row)), *named], at_once=True)

    def forget_file(self, path: Path) -> None:
        """Take out a file of the recording that is gone, with what was seen in it."""
        name = self._name(path)
        self._put([(sql, (name,)) for sql in _FORGET_FILE])

    def forget_clip(self, path: Path) -> None:
        """Take out a clip that is gone, with its events."""
        events, clips = "DELETE FROM events WHERE record ->> 'clip' = ?", "DELETE FROM clips WHERE path = ?"
        self._put([(events, (path.name,)), (clips, (self._name(path),))])

    def unname_clip(self, name: str) -> None:
        """Take the name of a clip that was never made out of its events."""
        self._put([(_UNNAME_CLIP, (name,))])

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until all that was added so far can be read; False when that takes too long."""
        done = threading.Event()
        return self._worker.put(done) and done.wait(timeout_s)

    def close(self, timeout_s: float = 30.0) -> None:
        """Write what waits and close the file; may be called twice."""
        self._worker.close(timeout_s)

    def _name(self, path: Path) -> str:
        """Return `path` as seen from the index, so that the folder can be moved as a whole."""
        return os.path.relpath(path, self.path.parent)

    def _put(self, statements: Sequence[_Statement], *, at_once: bool = False) -> None:
        """Have `statements` written with the next commit; `at_once` is for what is seldom and matters."""
        with self._lock:
            self._queue.extend(statements)
            while len(self._queue) > _MOST_WAITING:
                self._queue.popleft()
                self.lost += 1
            # One request is enough for all that came before its commit: a slow disk must not pile them up.
            asks, self._asked = at_once and not self._asked, self._asked or at_once
        if asks:
            self._worker.put(None)

    def _note(self, observation: Observation, wall: float) -> None:
        time_s = observation.time_s
        for seen in observation.objects:
            if not seen.track_id:
                continue
            noted = self._tracks.get((seen.track_id, seen.phrase))
            if noted is None:
                noted = _Sightings(observation.epoch, time_s, wall, time_s, wall, seen, time_s)
                self._tracks[seen.track_id, seen.phrase] = noted
            noted.last_s, noted.last_wall = time_s, wall
            if seen.score > noted.best.score:
                noted.best, noted.best_s = seen, time_s

    def _commit(self, done: threading.Event | None = None) -> None:
        """Write what has come since the last time; then say that it is `done`."""
        with self._lock:
            statements, self._queue, self._asked = list(self._queue), deque(), False
            tracks, self._tracks = self._tracks, {}
        self._write([*statements, *self._track_rows(tracks)])
        if done is not None:
            done.set()

    def _finish(self) -> None:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(self._connection):
            self._commit()

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
            self._connection.execute(_TRIM[table], (most,))


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


def _written(file: RecordedFile) -> float:
    """Return when a file was written last; its first picture may be older than its run."""
    with contextlib.suppress(OSError):
        return file.path.stat().st_mtime
    return file.start_wall


def open_index(path: Path) -> sqlite3.Connection:
    """Open the index for its writer; made when it is not there.

    Raises:
        OutputError: it cannot be written, or another version of groundstream made it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except (OSError, sqlite3.Error) as error:
        raise OutputError(f"cannot write the index {path}: {error}; choose another --out") from None
    return connection


def read_index(path: Path) -> sqlite3.Connection:
    """Open an index for reading, also while it is being written.

    Raises:
        OutputError: it cannot be read, or another version of groundstream made it.
    """
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", timeout=_BUSY_S, uri=True)
        _check_version(connection, path)
    except (OSError, sqlite3.Error) as error:
        raise OutputError(f"cannot read the index {path}: {error}") from None
    # SQLite itself folds the case of ASCII only.
    connection.create_function("folded", 1, str.casefold, deterministic=True)
    return connection


def pack_objects(objects: Iterable[SeenObject]) -> bytes:
    """Return objects as compact bytes: scores to 4, parts of the picture to 5 decimals."""
    rows = [
        [seen.track_id, seen.phrase, round(seen.score, 4), *(round(side, 5) for side in seen.box), seen.state]
        for seen in objects
    ]
    return zlib.compress(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode(), level=1)


def unpack_objects(packed: bytes) -> Iterator[SeenObject]:
    """Return what `pack_objects` packed."""
    for track_id, phrase, score, x1, y1, x2, y2, state in json.loads(zlib.decompress(packed)):
        yield SeenObject(track_id, phrase, score, (x1, y1, x2, y2), state)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    # Before the first table is made: room that deleted rows leave can then be given back.
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    # With the machine's power the last second may go; the file stays whole.
    connection.execute("PRAGMA synchronous=NORMAL")
    if _version(connection) == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version={_VERSION}; COMMIT;")
    _check_version(connection, path)


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    if version != _VERSION:
        raise OutputError(
            f"the index {path} has version {version}, but this groundstream knows version {_VERSION}; "
            "choose another folder, or move the index away"
        )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
