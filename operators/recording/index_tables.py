"""The tables of a stream's index, and how its file is opened."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from groundstream.operators.errors import OutputError
from groundstream.operators.frames import SeenObject

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
