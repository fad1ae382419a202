"""Addresses of sources: what may be shown of them, and the stream ids made from them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

HIDDEN = "***"

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_URL = re.compile(rf"(?P<scheme>{_SCHEME})(?P<rest>(?:(?!{_SCHEME})[^\s<>])*)")
_CREDENTIAL = re.compile(
    r"(?P<key>(?<![\w.-])[\w.-]*(?:pass|pwd|token|secret|key|auth|sig|cred|session|jwt|user|usr|login)[\w.-]*=)"
    r"[^&\s\"<>]*",
    re.IGNORECASE,
)
_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|localhost|[^@:/?#]+\.[^@:/?#]+)(?::\d+)?$")
_LONGEST_ID = 80


def has_scheme(uri: str) -> bool:
    """Tell whether `uri` is an address (`rtsp://...`) and not a path."""
    return _URL.match(uri) is not None


def mask(text: str) -> str:
    """Return `text` with the credentials of every address in it replaced by `***`.

    Hides `user:password@` (also where the password holds characters that should have been escaped) and
    the values of parameters whose names look like credentials (`token=`, `pwd=`, `user=`, ...). What it
    cannot know is a secret in a plain path (`/live/8f3a...`).
    """
    return _CREDENTIAL.sub(rf"\g<key>{HIDDEN}", _URL.sub(_without_user, text))


def shown(value: object, most: int = 60) -> str:
    """Return `value` as an error may quote it: masked first, cut then; in a URL that is cut before its `@`
    the password would not be known as one."""
    return mask(repr(value))[:most]


def _without_user(match: re.Match[str]) -> str:
    scheme, rest = match["scheme"], match["rest"]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    cut, last = authority.rfind("@"), rest.rfind("@")
    has_user = cut >= 0 or ":" in authority
    # `admin:a/b@host` and `admin:a@b/c@host`: a raw / in the password ends the authority too early. Where
    # what is left does not look like a host, everything up to the last @ is hidden.
    if has_user and last > cut and not _HOST_AND_PORT.match(authority[cut + 1 :]):
        cut = last
    return scheme + rest if cut < 0 else f"{scheme}{HIDDEN}@{rest[cut + 1 :]}"


def stream_id_for(uri: str) -> str:
    """Return a stream id for `uri`, fit as a file name and free of credentials.

    A file gives its stem, a folder or glob of images the folder's name, a webcam `webcam-0`, an address
    its host, port, path and query without credentials (`10.0.0.5-554-Streaming-Channels-101`). Different
    sources may give equal ids (two files of one name): the caller makes them distinct.
    """
    if has_scheme(uri) and not uri.startswith("file://"):
        return _clean(_address_words(mask(uri)))
    if uri.isdecimal():
        return f"webcam-{uri}"
    if uri.startswith("webcam:"):
        return _clean(uri.replace(":", "-", 1))
    path = Path(unquote(urlsplit(uri).path) if uri.startswith("file://") else uri)
    if any(character in path.name for character in "*?[") and not path.exists():
        path = path.parent
    return _clean(path.resolve().name if path.is_dir() else path.stem)


def _address_words(masked: str) -> str:
    """Return what names the place in a masked address: no scheme, no user, no credential parameter."""
    rest = masked.split("://", 1)[1]
    rest = rest.removeprefix(f"{HIDDEN}@")
    return re.sub(r"[\w.-]*=\*{3}", "", rest)


def _clean(text: str) -> str:
    """Keep letters and digits of any script, dots, underscores and hyphens; the rest becomes hyphens."""
    name = re.sub(r"-{2,}", "-", re.sub(r"[^\w.-]", "-", text)).strip("-.")
    if len(name) > _LONGEST_ID:
        name = f"{name[: _LONGEST_ID - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name or "stream"
