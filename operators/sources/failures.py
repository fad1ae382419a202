"""Why a source failed: from libav's errors to a named reason and one sentence that says what to do."""

from __future__ import annotations

import difflib
import errno
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import av

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.urls import mask
from groundstream.operators.utils.files import explain

_REASONS: tuple[tuple[type[BaseException], Reason], ...] = (
    (av.error.HTTPUnauthorizedError, Reason.AUTHENTICATION),
    (av.error.HTTPForbiddenError, Reason.AUTHENTICATION),
    (av.error.HTTPNotFoundError, Reason.NOT_FOUND),
    (FileNotFoundError, Reason.NOT_FOUND),
    (ConnectionRefusedError, Reason.REFUSED),
    (TimeoutError, Reason.TIMEOUT),
    (av.error.ExitError, Reason.TIMEOUT),  # what an interrupted wait ends with
    (PermissionError, Reason.PERMISSION),
    (ConnectionError, Reason.ENDED),
    (EOFError, Reason.ENDED),
    (av.error.InvalidDataError, Reason.INVALID),
    (av.error.DecoderNotFoundError, Reason.DECODE),
)

_REMEDIES = {
    Reason.NOT_FOUND: "there is no such stream or device; check the address",
    Reason.REFUSED: "nothing listens there; check host and port, and that it is switched on",
    Reason.AUTHENTICATION: "user name or password were refused; correct them in the address",
    Reason.DNS: "the host name is not known; check its spelling and the name server",
    Reason.TLS: "no encrypted connection could be made; check that the port speaks TLS",
    Reason.TIMEOUT: "no answer in time; check the network and the firewall",
    Reason.STALLED: "connected, but no pictures come any more",
    Reason.NO_VIDEO: "it has no video stream",
    Reason.DECODE: "its pictures cannot be decoded; check the codec of the stream",
    Reason.INVALID: "the answer is not a video stream; check protocol and port of the address",
    Reason.PERMISSION: "reading it is not allowed; check its permissions",
    Reason.ENDED: "the other side ended the stream",
}

_DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_EXAMINE_S = 3.0


def failure_reason(error: BaseException) -> Reason:
    """Return the named reason for an error of libav or the operating system."""
    if isinstance(error, SourceError):
        return error.reason
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), Reason.OTHER)


def live_failure(uri: str, error: BaseException, examine: bool = False) -> SourceError:
    """Return what a failed address or camera is reported as.

    libav reports an unknown host, a refused TLS handshake and an unanswered request all as an input/output
    error or invalid data. `examine` makes one connection of its own to tell them apart (3 s at most per
    step).
    """
    reason = failure_reason(error)
    if examine and reason in (Reason.OTHER, Reason.INVALID, Reason.ENDED):
        reason = _examined(uri) or reason
    remedy = _REMEDIES.get(reason) or f"it cannot be read ({_words_of(error)})"
    return SourceError(f"{mask(uri)}: {remedy}", reason)


def _words_of(error: BaseException) -> str:
    """Return what `error` says, without the address that libav adds to its messages."""
    return mask(explain(error))


def _examined(uri: str) -> Reason | None:
    """Walk the steps to the server that libav does not tell apart; None when all of them work."""
    parts = urlsplit(uri)
    default_port = _DEFAULT_PORTS.get(parts.scheme)
    if not parts.hostname or default_port is None:
        return None
    try:
        with socket.create_connection((parts.hostname, parts.port or default_port), _EXAMINE_S) as link:
            if parts.scheme in ("rtsps", "https"):
                _shake_hands(link, parts.hostname)
    except socket.gaierror:
        return Reason.DNS
    except ConnectionRefusedError:
        return Reason.REFUSED
    except ssl.SSLError:
        return Reason.TLS
    except (TimeoutError, OSError) as error:
        unreachable = (errno.ENETUNREACH, errno.EHOSTUNREACH)
        return Reason.TIMEOUT if isinstance(error, TimeoutError) or error.errno in unreachable else None
    except ValueError:  # a port that is no number
        return None
    return None


def _shake_hands(link: socket.socket, host: str) -> None:
    # libav does not verify certificates either; only whether TLS is spoken is asked here.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(link, server_hostname=host):
        pass


def file_failure(path: Path, error: BaseException) -> SourceError:
    """Return what a file that cannot be opened is reported as."""
    reason = failure_reason(error)
    if reason is Reason.NOT_FOUND:
        return missing_file(path)
    if reason is Reason.INVALID and path.is_file() and path.stat().st_size == 0:
        return SourceError(f"{path}: the file is empty (0 bytes); record or copy it again", reason)
    sentences = {
        Reason.INVALID: "this is not a video that can be read, or it was cut off before its index was "
        "written; check it with a player, or copy it again",
        Reason.PERMISSION: "reading the file is not allowed; check its permissions",
        Reason.DECODE: "there is no decoder for this video; convert it, for example to H.264",
    }
    words = sentences.get(reason) or f"the file cannot be read ({_words_of(error)})"
    return SourceError(f"{path}: {words}", reason)


def missing_file(path: Path) -> SourceError:
    """Return the error for a path that does not exist, with the most similar name of its folder."""
    folder = path.parent
    if not folder.is_dir():
        return SourceError(f"{path}: there is no folder {folder}; check the path", Reason.NOT_FOUND)
    names = [entry.name for entry in folder.iterdir()]
    close = difflib.get_close_matches(path.name, names, n=1)
    advice = f"did you mean {folder / close[0]}?" if close else "check the path"
    return SourceError(f"{path}: there is no such file; {advice}", Reason.NOT_FOUND)


def starts_beyond(label: str, start_s: float, end_s: float) -> SourceError:
    """Return the error for a source that ends at `end_s`, before the `start_s` that was asked for."""
    words = f"it ends at {end_s:.1f} s, but the start asked for is {start_s:.1f} s; choose an earlier one"
    return SourceError(f"{label}: {words}", Reason.ENDED)
