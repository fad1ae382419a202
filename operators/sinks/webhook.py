"""Events, and records of frames where they are asked for, as HTTP POST requests."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import logging
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from groundstream.operators.errors import ConfigError
from groundstream.operators.sinks.delivery import Refused, Unavailable
from groundstream.operators.sinks.server import ServerSink
from groundstream.operators.sinks.spool import DiskSpool, Message
from groundstream.operators.utils.backoff import Backoff
from groundstream.operators.utils.files import explain

_log = logging.getLogger(__name__)

#: The header that is the same in every repetition of a request.
DELIVERY_HEADER = "Groundstream-Delivery"
SPOOL_MB = 64.0
_TIMEOUT_S = 10.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_LONGEST_RETRY_AFTER_S = 3600.0
_AGAIN = (408, 429)
_MOST_ANSWER_BYTES = 65_536
_EXPECTED = (
    "expected webhook+https://USER:PASSWORD@HOST:PORT/PATH?QUERY#detections=1&spool=FILE&spool_mb=64 (or "
    "webhook+http://; &ca_certs=FILE for an authority of your own), with special characters percent-encoded"
)


@dataclass(frozen=True)
class WebhookAddress:
    """Where requests go, and what they hold.

    Attributes:
        host: name or address.
        port: of the receiver.
        target: path and query of the request; may hold a secret, never shown.
        user: for basic authentication, where the receiver wants it.
        password: of the user; never shown.
        tls: whether the connection is encrypted.
        ca_certs: file of the authority that signed the receiver's certificate; the system's where empty.
        detections: whether frames are sent too.
        spool: file in which messages wait.
        spool_mb: bound of what waits, in megabytes.
    """

    host: str
    port: int
    target: str
    user: str
    password: str
    tls: bool
    ca_certs: str
    detections: bool
    spool: Path
    spool_mb: float

    def __repr__(self) -> str:
        return f"WebhookAddress({self.host}:{self.port})"


def webhook_address(url: str, stream_id: str) -> WebhookAddress:
    """Read `webhook+https://USER:PASSWORD@HOST:PORT/PATH?QUERY#OPTIONS`.

    Raises:
        ConfigError: `url` cannot be read; the message holds no part of it.
    """
    try:
        parts = urlsplit(url.removeprefix("webhook+"))
        options = dict(parse_qsl(parts.fragment, strict_parsing=bool(parts.fragment)))
        tls = parts.scheme == "https"
        detections, ca_certs = options.pop("detections", "0"), options.pop("ca_certs", "")
        spool, spool_mb = options.pop("spool", ""), float(options.pop("spool_mb", SPOOL_MB))
        if options or not parts.hostname or detections not in ("0", "1") or not 0 < spool_mb < 1e6:
            raise ValueError
        return WebhookAddress(
            host=parts.hostname,
            port=parts.port or (443 if tls else 80),
            target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            tls=tls,
            ca_certs=ca_certs,
            detections=detections == "1",
            spool=_spool_file(spool, f"{parts.hostname}:{parts.port}{parts.path}", stream_id),
            spool_mb=spool_mb,
        )
    except ValueError:
        # Its own words could quote the password.
        raise ConfigError(f"the webhook URL of an output cannot be read; {_EXPECTED}") from None


def _spool_file(given: str, receiver: str, stream_id: str) -> Path:
    """Return the file that was given, else one of the user's own for this receiver and stream (XDG)."""
    if given:
        return Path(given.replace("{stream}", stream_id)).expanduser()
    base = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "state"
    digest = hashlib.sha256(receiver.encode()).hexdigest()[:12]  # the receiver's path may hold a secret
    return folder / "groundstream" / "spool" / f"{stream_id}-{digest}.sqlite"


class WebhookSink(ServerSink):
    """Posts every message about an event as JSON, and every frame where frames are asked for.

    Messages wait in a file, which outlives the process: a receiver that is away gets all of them in order
    once it is back, by this run or the next one. The oldest are given up when the file is full. The header
    `Groundstream-Delivery` is the same in every repetition of a message. Answers of 4xx other than 408 and
    429 are final: the message is given up and counted; redirections are not followed.

    Args:
        address: where requests go, and what they hold.
        timeout_s: a receiver that is silent for so long counts as away.

    Raises:
        OutputError: the spool cannot be used.
    """

    name = "webhook"

    def __init__(self, address: WebhookAddress, timeout_s: float = _TIMEOUT_S) -> None:
        transport = WebhookTransport(address, timeout_s)
        spool = DiskSpool(address.spool, round(address.spool_mb * 1e6))
        if waiting := len(spool):
            _log.info("%d messages of an earlier run wait for %s", waiting, transport.place)
        backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        super().__init__(transport, spool, backoff, detections=address.detections)


class WebhookTransport:
    """One connection to a receiver, kept open between requests.

    Args:
        address: where requests go.
        timeout_s: seconds of silence after which the receiver counts as away.
    """

    most = 1

    def __init__(self, address: WebhookAddress, timeout_s: float) -> None:
        self.place = f"webhook {address.host}:{address.port}"
        self._target = address.target
        self._headers = {"Content-Type": "application/json", "User-Agent": "groundstream"}
        if address.user:
            pair = f"{address.user}:{address.password}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        self._connection = _connection(address, timeout_s)

    def deliver(self, messages: Sequence[Message]) -> int:
        """Post the first message; see `Transport.deliver`."""
        status, words, retry_after = self._post_twice(messages[0])
        if 200 <= status < 300:
            return 1
        answer = f"it answers {status} {words}".strip()
        if status in _AGAIN or status >= 500:
            raise Unavailable(answer, _seconds(retry_after))
        raise Refused(answer)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _post_twice(self, message: Message) -> tuple[int, str, str]:
        """Post; where a kept connection turns out to be closed by the receiver, once more on a new one."""
        was_open = self._connection.sock is not None
        try:
            return self._post(message)
        except (ConnectionError, http.client.BadStatusLine) as error:
            if not was_open:
                raise Unavailable(explain(error)) from None
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(explain(error)) from None
        try:
            return self._post(message)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(explain(error)) from None

    def _post(self, message: Message) -> tuple[int, str, str]:
        """Return status, its words, and the header Retry-After."""
        try:
            headers = self._headers | {
                DELIVERY_HEADER: message.id.encode("ascii", "backslashreplace").decode()
            }
            self._connection.request("POST", self._target, message.body, headers)
            answer = self._connection.getresponse()
            if len(answer.read(_MOST_ANSWER_BYTES)) == _MOST_ANSWER_BYTES:
                self._connection.close()  # its rest would be taken for the next answer
        except BaseException:
            self._connection.close()
            raise
        return answer.status, answer.reason, answer.getheader("Retry-After", "")


def _connection(address: WebhookAddress, timeout_s: float) -> http.client.HTTPConnection:
    if not address.tls:
        return http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
    try:
        context = ssl.create_default_context(cafile=address.ca_certs or None)
    except OSError as error:
        raise ConfigError(
            f"cannot read the certificates {address.ca_certs!r} of a webhook: {explain(error)}"
        ) from None
    return http.client.HTTPSConnection(address.host, address.port, timeout=timeout_s, context=context)


def _seconds(retry_after: str) -> float | None:
    """Return the seconds that a receiver asks for (a number, or a date), up to an hour."""
    wait_s = None
    with contextlib.suppress(ValueError):
        wait_s = float(int(retry_after))
    if wait_s is None:
        with contextlib.suppress(ValueError):
            until = parsedate_to_datetime(retry_after)
            wait_s = (until.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return None if wait_s is None else min(_LONGEST_RETRY_AFTER_S, max(0.0, wait_s))
