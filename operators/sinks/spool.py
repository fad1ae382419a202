"""Where messages wait for a receiver that is away: in memory, or in a file that outlives the process."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from groundstream.operators.errors import OutputError

_VERSION = 1
_TABLE = """
create table if not exists spool (number integer primary key autoincrement, kind text, id text, body blob)
"""


class Parcel(NamedTuple):
    """A message on its way: what it is about, what its receiver tells repetitions by, and its JSON."""

    kind: Literal["detection", "event"]
    id: str
    body: bytes


class Spool(Protocol):
    """A bounded queue of parcels; safe to use from several threads."""

    def put(self, parcel: Parcel) -> int:
        """Add a parcel; return how many of the oldest were given up to make room.

        Raises:
            OutputError: the parcel cannot be kept.
        """

    def head(self, most: int) -> list[tuple[int, Parcel]]:
        """Return the oldest parcels with their numbers, without removing them."""

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove parcels; numbers that are not there any more are passed over.

        Raises:
            OutputError: they cannot be removed, and are there still.
        """

    def __len__(self) -> int: ...

    def close(self) -> None:
        """Give back what it holds open; may be called twice."""


class MemorySpool:
    """A spool that ends with the process.

    Args:
        most_bytes: the bodies that wait are together not larger; one alone may be.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes, self._next = most_bytes, 0, 0
        self._parcels: OrderedDict[int, Parcel] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._parcels)

    def put(self, parcel: Parcel) -> int:
        """Add a parcel; return how many of the oldest were given up to make room."""
        with self._lock:
            self._parcels[self._next] = parcel
            self._next += 1
            self._bytes += len(parcel.body)
            given_up = 0
            while self._bytes > self._most_bytes and len(self._parcels) > 1:
                _, oldest = self._parcels.popitem(last=False)
                self._bytes -= len(oldest.body)
                given_up += 1
            return given_up

    def head(self, most: int) -> list[tuple[int, Parcel]]:
        """Return the oldest parcels with their numbers, without removing them."""
        with self._lock:
            return list(islice(self._parcels.items(), most))

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove parcels; numbers that are not there any more are passed over."""
        with self._lock:
            for number in numbers:
                if parcel := self._parcels.pop(number, None):
                    self._bytes -= len(parcel.body)

    def close(self) -> None:
        """Nothing is held open."""


class DiskSpool:
    """A spool in an SQLite file: what it took is there after `kill -9`, and goes out with the next run.

    One process has it at a time. The file is not larger than `most_bytes` and some, and does not shrink.

    Args:
        path: the file; missing folders are made, readable by their owner only.
        most_bytes: the bodies that wait are together not larger; one alone may be.

    Raises:
        OutputError: the file cannot be used, or another process does.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path, self._most_bytes = path, most_bytes
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._database = sqlite3.connect(path, timeout=0, check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        try:
            self._prepare()
            query = "select count(*), coalesce(sum(length(body)), 0) from spool"
            self._count, self._bytes = self._database.execute(query).fetchone()
        except sqlite3.Error as error:
            self._database.close()
            raise self._unusable(error) from error

    def __len__(self) -> int:
        return int(self._count)

    def put(self, parcel: Parcel) -> int:
        """Add a parcel, which is with the operating system then; return how many of the oldest were given up.

        Raises:
            OutputError: the file cannot be written; what is in it is kept.
        """
        with self._lock:
            try:
                given_up = self._make_room(len(parcel.body))
                self._database.execute("insert into spool (kind, id, body) values (?, ?, ?)", parcel)
            except sqlite3.Error as error:
                raise OutputError(f"cannot write the spool {self._path}: {error}; free some space") from error
            self._count += 1
            self._bytes += len(parcel.body)
            return given_up

    def head(self, most: int) -> list[tuple[int, Parcel]]:
        """Return the oldest parcels with their numbers, without removing them."""
        with self._lock:
            query = "select number, kind, id, body from spool order by number limit ?"
            return [(row[0], Parcel(*row[1:])) for row in self._database.execute(query, (most,))]

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove parcels; numbers that are not there any more are passed over.

        Raises:
            OutputError: the file cannot be written.
        """
        with self._lock:
            try:
                for number in numbers:
                    self._delete(number)
            except sqlite3.Error as error:
                raise OutputError(f"cannot write the spool {self._path}: {error}; free some space") from error

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            self._database.close()

    def _prepare(self) -> None:
        # Exclusive: the lock is taken with the first write and goes with the process, also when it is killed.
        self._database.execute("pragma locking_mode = exclusive")
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma synchronous = normal")
        version = self._database.execute("pragma user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"it is of version {version}, not {_VERSION}")
        self._database.execute(_TABLE)
        self._database.execute(f"pragma user_version = {_VERSION}")

    def _make_room(self, size: int) -> int:
        given_up = 0
        while self._count and self._bytes + size > self._most_bytes:
            number = self._database.execute("select min(number) from spool").fetchone()[0]
            self._delete(number)
            given_up += 1
        return given_up

    def _delete(self, number: int) -> None:
        query = "delete from spool where number = ? returning length(body)"
        for (size,) in self._database.execute(query, (number,)).fetchall():
            self._count -= 1
            self._bytes -= size

    def _unusable(self, error: Exception) -> OutputError:
        if "locked" in str(error):
            return OutputError(
                f"the spool {self._path} is used by another run; give each its own (#spool=FILE in the URL)"
            )
        detail = error.strerror if isinstance(error, OSError) else error
        remedy = "move it away or give another (#spool=FILE in the URL)"
        return OutputError(f"cannot use the spool {self._path}: {detail}; {remedy}")
