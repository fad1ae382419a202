"""Where messages wait for their receiver: in memory, or in a file that outlives the process."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from groundstream.operators.errors import OutputError
from groundstream.operators.utils.bounded import BoundedDict
from groundstream.operators.utils.files import explain

_VERSION = 1  # of the table
_TABLE = """
create table if not exists spool (number integer primary key autoincrement, kind text, id text, body blob)
"""


class Message(NamedTuple):
    """A message on its way: what it is about, what its receiver tells repetitions by, and its JSON."""

    kind: Literal["detection", "event"]
    id: str
    body: bytes


class MemorySpool:
    """A spool that ends with the process; safe to use from several threads, as the other.

    Attributes:
        place: where messages are found that outlive the process; empty where none do.

    Args:
        most_bytes: the bodies that wait are together not larger; one alone may be.
    """

    place = ""

    def __init__(self, most_bytes: int) -> None:
        self._messages: BoundedDict[int, Message] = BoundedDict(most_bytes)
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Message) -> list[Message]:
        """Add a message; return the oldest that were given up to make room."""
        return self._messages.put(next(self._numbers), message, len(message.body))

    def oldest(self, most: int) -> list[tuple[int, Message]]:
        """Return up to `most` of the oldest messages with their numbers, without removing them."""
        return self._messages.oldest(most)

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove messages; numbers that are not there any more are passed over."""
        self._messages.remove(numbers)

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
        self.place, self._most_bytes = str(path), most_bytes
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

    def put(self, message: Message) -> list[Message]:
        """Add a message, which is with the operating system then; return the oldest that were given up.

        Raises:
            OutputError: the file cannot be written; what is in it is kept.
        """
        with self._writing():
            # First, so that on a full disk the older ones do not make room for one that does not come.
            self._database.execute("insert into spool (kind, id, body) values (?, ?, ?)", message)
            self._count += 1
            self._bytes += len(message.body)
            given_up: list[Message] = []
            while self._bytes > self._most_bytes and self._count > 1:
                given_up += self._delete(
                    self._database.execute("select min(number) from spool").fetchone()[0]
                )
        return given_up

    def oldest(self, most: int) -> list[tuple[int, Message]]:
        """Return up to `most` of the oldest messages with their numbers, without removing them."""
        with self._lock:
            query = "select number, kind, id, body from spool order by number limit ?"
            return [(row[0], Message(*row[1:])) for row in self._database.execute(query, (most,))]

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove messages; numbers that are not there any more are passed over.

        Raises:
            OutputError: the file cannot be written.
        """
        with self._writing():
            for number in numbers:
                self._delete(number)

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

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Change the table as a whole or, where that fails, not at all."""
        with self._lock:
            before = self._count, self._bytes
            try:
                self._database.execute("begin")
                yield
                self._database.execute("commit")
            except sqlite3.Error as error:
                self._count, self._bytes = before
                with contextlib.suppress(sqlite3.Error):  # where the disk is full SQLite has done it itself
                    self._database.execute("rollback")
                raise OutputError(f"cannot write the spool {self.place}: {error}; free some space") from error

    def _delete(self, number: int) -> list[Message]:
        query = "delete from spool where number = ? returning kind, id, body"
        gone = [Message(*row) for row in self._database.execute(query, (number,)).fetchall()]
        self._count -= len(gone)
        self._bytes -= sum(len(message.body) for message in gone)
        return gone

    def _unusable(self, error: Exception) -> OutputError:
        if "locked" in str(error):
            return OutputError(
                f"the spool {self.place} is used by another run; give each its own (#spool=FILE in the URL)"
            )
        remedy = "move it away or give another (#spool=FILE in the URL)"
        return OutputError(f"cannot use the spool {self.place}: {explain(error)}; {remedy}")


Spool = MemorySpool | DiskSpool
