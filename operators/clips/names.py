"""Names of clips: when, what and a short id; nothing that a file system minds, nothing secret."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

from groundstream.operators.urls import mask

_LONGEST_WORDS = 40  # characters; four bytes each at most, of the 255 that file systems allow


def clip_name(start_wall: float, kind: str, phrase: str) -> str:
    """Return `20261122T060250.123Z-zone_enter-white-van-1a2b3c4d`, distinct at each call.

    Args:
        start_wall: when the clip starts, in seconds since 1970.
        kind: of the event that it was begun for.
        phrase: in anyone's words: letters and digits of any script stay, the rest becomes hyphens; empty
            where there is none.
    """
    moment = datetime.fromtimestamp(start_wall, UTC)
    stamp = f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z"
    return "-".join(word for word in (stamp, kind, _words(phrase), secrets.token_hex(4)) if word)


def part_name(name: str, part: int) -> str:
    """Return the name of a clip's part, counted from 1; the first has no number."""
    return name if part == 1 else f"{name}.{part}"


def _words(phrase: str) -> str:
    return re.sub(r"[\W_]+", "-", mask(phrase))[:_LONGEST_WORDS].strip("-")
