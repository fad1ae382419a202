"""Where text features are shared between runs, processes and machines: Redis, a file, by hand, or nowhere.

`open_text_store` makes the store that a URL names; `HandedTexts` stands before it where several detectors of
one run share what they encode. `text/cache.py` says in which order all of them are asked.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from groundstream.operators.errors import ConfigError
from groundstream.operators.utils.bounded import BoundedDict

TTL_S = 30 * 24 * 3600  # after which Redis forgets a value
FILE_BYTES = 256 * 2**20
HANDED_BYTES = 64 * 2**20
_BUSY_S = 1.0  # patience with another process that writes to the file
_KEYS_PER_QUERY = 500  # SQLite's own limit is 999 in old builds
_SCHEMA = """
CREATE TABLE IF NOT EXISTS text_features (
    key TEXT PRIMARY KEY, written REAL NOT NULL, value BLOB NOT NULL
);
"""


class StoreError(Exception):
    """A store gave no answer; the message says where and why, and holds no secret."""


class TextStore(Protocol):
    """A shared place of bytes by key. Safe to use from several threads.

    Attributes:
        place: where it is, in words that may be printed.
    """

    place: str

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the values that are there, in one round trip.

        Raises:
            StoreError: the store gave no answer.
        """

    def put_many(self, values: Mapping[str, bytes]) -> None:
        """Keep `values`, in one round trip.

        Raises:
            StoreError: the store did not take them.
        """

    def close(self) -> None:
        """Give back files and connections; a later call opens them again."""


def default_store_path() -> Path:
    """Return the file of text features where the user names none (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return folder / "groundstream" / "text.sqlite"


def open_text_store(url: str | None) -> TextStore | None:
    """Return the store that `url` names; nothing is read or connected yet, so this never waits.

    Args:
        url: `redis://user:password@host:port/db`, `rediss://...` for TLS (redis-py's options in the query,
            such as `?ssl_ca_certs=ca.pem` or `?socket_timeout=3`), `sqlite:FILE`, a plain file name, or
            `none`; None for `default_store_path`.

    Raises:
        ConfigError: `url` is none of these.
    """
    if url is None:
        return SqliteStore(default_store_path())
    if url == "none":
        return None
    scheme, colon, rest = url.partition(":")
    if scheme in ("redis", "rediss"):
        return RedisStore(url)
    if colon and "//" in rest[:2] and scheme != "sqlite":
        raise ConfigError(
            f"the text cache cannot be on {scheme}://; give redis://HOST, rediss://HOST, a file name or none"
        )
    name = rest.removeprefix("//") if scheme == "sqlite" and colon else url
    if not name:
        raise ConfigError("the text cache has no file name; give sqlite:FILE, redis://HOST or none")
    return SqliteStore(Path(name).expanduser())


class SqliteStore:
    """A `TextStore` in a file (write-ahead log), safe with several processes and threads.

    The file is opened at the first use, and again after a failure. When the values pass `most_bytes`, the
    oldest go until three quarters are left; `evicted` counts them.

    Args:
        path: the file; folders above it are made.
        most_bytes: size of the file's content that may not be passed.
    """

    def __init__(self, path: Path, most_bytes: int = FILE_BYTES) -> None:
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


class RedisStore:
    """A `TextStore` in Redis: one MGET to read, one pipeline of SET ... EX to write.

    Redis's library is imported when a store is made: most runs have none.

    Args:
        url: `redis://...` or `rediss://...`, as `operators/utils/redis.py` takes it.
        ttl_s: seconds after which the server forgets a value.
    """

    def __init__(self, url: str, ttl_s: int = TTL_S) -> None:
        from groundstream.operators.utils.redis import connect, place_of

        self._client = connect(url)
        self._ttl_s = ttl_s
        self.place = place_of(self._client)

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the values that are there, in one round trip."""
        if not keys:
            return {}
        with self._explained():
            values = cast("list[bytes | None]", self._client.mget(keys))
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

    def put_many(self, values: Mapping[str, bytes]) -> None:
        """Keep `values` for `ttl_s` seconds, in one round trip."""
        pipeline = self._client.pipeline(transaction=False)
        for key, value in values.items():
            pipeline.set(key, value, ex=self._ttl_s)  # redis-py calls SETEX deprecated
        with self._explained():
            pipeline.execute()

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say where and why a command failed; redis-py's own words may hold the password."""
        import redis

        from groundstream.operators.utils.redis import reason_of

        try:
            yield
        except (redis.RedisError, OSError) as error:
            raise StoreError(f"{self.place}: {reason_of(error)}") from None


class HandedTexts:
    """A `TextStore` that keeps what is handed to it, and hands out what went through it.

    The detectors of one run each have one: what the first of them encodes or finds in the shared store is
    handed to the others, so that the cluster encodes a prompt once also without a store, or while none
    can be reached. Safe to use from several threads.

    Args:
        store: what is asked where nothing was handed in; None for nothing.
        most_bytes: bound of what is kept; the oldest goes first.
    """

    def __init__(self, store: TextStore | None, most_bytes: int = HANDED_BYTES) -> None:
        self.place = store.place if store is not None else "this detector"
        self._store, self._most_bytes = store, most_bytes
        self._kept = BoundedDict[str, bytes](most_bytes)
        self._fresh: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def hand_in(self, values: Mapping[str, bytes]) -> None:
        """Keep what another detector has handed out."""
        with self._lock:
            self._keep(values)

    def hand_out(self) -> dict[str, bytes]:
        """Return what came from the store or from the model since the last call."""
        with self._lock:
            fresh, self._fresh = self._fresh, {}
            return fresh

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the values that are there; the store is asked for those that were not handed in."""
        found = {key: value for key in keys if (value := self._kept.get(key)) is not None}
        missing = [key for key in keys if key not in found]
        if missing and self._store is not None:
            stored = self._store.get_many(missing)
            self._take(stored)
            found |= stored
        return found

    def put_many(self, values: Mapping[str, bytes]) -> None:
        """Keep `values`, here and in the store."""
        self._take(values)
        if self._store is not None:
            self._store.put_many(values)

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()

    def _take(self, values: Mapping[str, bytes]) -> None:
        with self._lock:
            self._fresh |= values
            self._keep(values)

    def _keep(self, values: Mapping[str, bytes]) -> None:
        for key, value in values.items():
            if len(value) <= self._most_bytes:
                self._kept.put(key, value, len(value))
        # What had to go is not handed out either: what is fresh is bounded with what is kept.
        self._fresh = {key: value for key, value in self._fresh.items() if key in self._kept}
