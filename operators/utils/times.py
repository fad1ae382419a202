"""Wall times as text: one way for records, events, facts of clips and logs, one for the names of files."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(wall: float) -> str:
    """Return seconds since 1970 as RFC 3339 in UTC with milliseconds: `2026-11-22T06:02:50.123Z`."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_rfc3339(text: str) -> float:
    """Return the seconds since 1970 of a time as `rfc3339` writes it, or any other with an offset.

    Raises:
        ValueError: it is no such time.
    """
    return datetime.fromisoformat(text).timestamp()


def file_stamp(wall: float) -> str:
    """Return seconds since 1970 as `20261122T060250.123Z`: sorts by time, and no file system minds it."""
    moment = datetime.fromtimestamp(wall, UTC)
    # Cut, not rounded: a file never claims to begin after its first picture.
    return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z"
