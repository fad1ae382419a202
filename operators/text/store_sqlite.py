"""Text features in one SQLite file, shared by the runs and processes of one machine."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from groundstream.operators.text.stores import StoreError

MOST_BYTES = 256 * 2**20
_BUSY_S = 1.0
_KEYS_PER_QUERY = 500  # SQLite's own limit is 999 in old builds
_SCHEMA = """
CREATE TABLE IF NOT EXISTS text_features (
    key TEXT PRIMARY KEY, written REAL NOT NULL, value BLOB NOT NULL
);
"""


class SqliteStore:
    """A `TextStore` in a file (write-ahead log), safe with several processes and threads.

    The file is opened at the first use, and again after a failure. When the values pass `most_bytes`, the
    oldest go until three quarters are left; `evicted` counts them.

    Args:
        path: the file; folders above it are made.
        most_bytes: size of the file's content that may not be passed.
    """

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self.place = f"the file {path}"
        self.evicted = 0
        self._path = path
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the values that are there."""
        found: dict[str, bytes] = {}
        with self._opened() as connection:
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                some = keys[start : start + _KEYS_PER_QUERY]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, value FROM text_features WHERE key IN ({marks})"  # noqa: S608 -- marks only
                found.update(connection.execute(query, some))
        return found

    def put_many(self, values: Mapping[str, bytes]) -> None:
        """Keep `values`, in one transaction."""
        now = time.time()
        rows = [(key, now, value) for key, value in values.items()]
        with self._opened() as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO text_features VALUES (?, ?, ?)", rows)
            self._evict(connection)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._drop()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection to one thread at a time; after a failure the next call opens a new one."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                self._drop()
                raise StoreError(f"{self.place}: {error}") from None

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=_BUSY_S, check_same_thread=False)
        try:
            _switch_to_wal(connection)
            # With the machine's power the last values may go, and are computed again; the file stays whole.
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(_SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _evict(self, connection: sqlite3.Connection) -> None:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        used = (pages - free) * size
        if used <= self._most_bytes:
            return
        surplus = used - 0.75 * self._most_bytes
        doomed: list[tuple[str]] = []
        oldest = connection.execute("SELECT key, length(value) FROM text_features ORDER BY written, key")
        for key, value_bytes in oldest:
            if surplus <= 0:
                break
            doomed.append((key,))
            surplus -= value_bytes
        connection.executemany("DELETE FROM text_features WHERE key = ?", doomed)
        self.evicted += len(doomed)


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Use a write-ahead log; of several that switch a new file at once SQLite fails all but one, unwaited."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
