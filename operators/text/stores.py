"""Where text features are shared between runs, processes and machines: Redis, a file, or nowhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from groundstream.operators.errors import ConfigError


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


def open_text_store(url: str) -> TextStore | None:
    """Return the store that `url` names; nothing is read or connected yet, so this never waits.

    Args:
        url: `redis://user:password@host:port/db`, `rediss://...` for TLS (redis-py's options in the query,
            such as `?ssl_ca_certs=ca.pem` or `?socket_timeout=3`), `sqlite:FILE`, a plain file name, or
            `none`.

    Raises:
        ConfigError: `url` is none of these.
    """
    if url == "none":
        return None
    scheme, colon, rest = url.partition(":")
    if scheme in ("redis", "rediss"):
        from groundstream.operators.text.store_redis import RedisStore

        return RedisStore(url)
    if colon and "//" in rest[:2] and scheme != "sqlite":
        raise ConfigError(
            f"the text cache cannot be on {scheme}://; give redis://HOST, rediss://HOST, a file name or none"
        )
    from groundstream.operators.text.store_sqlite import SqliteStore

    name = rest.removeprefix("//") if scheme == "sqlite" and colon else url
    if not name:
        raise ConfigError("the text cache has no file name; give sqlite:FILE, redis://HOST or none")
    return SqliteStore(Path(name).expanduser())
