"""Records as entries of a Redis stream, in order, also through a restart of the server."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis

from groundstream.operators.errors import ConfigError, OutputError
from groundstream.operators.records.detection import json_bytes
from groundstream.operators.sinks.delivery import Unavailable
from groundstream.operators.sinks.server import MOST_AHEAD, ServerSink
from groundstream.operators.sinks.spool import MemorySpool, Message
from groundstream.operators.utils.backoff import Backoff
from groundstream.operators.utils.redis import connect, place_of, reason_of

MOST_ENTRIES = 100_000
SPOOL_BYTES = 64 * 2**20
# The longest one fits twice into what a closed sink goes on trying: a server that is back is found.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 2.0
# Answers that no waiting will change.
_REFUSALS = ("NOAUTH", "WRONGPASS", "NOPERM", "WRONGTYPE")


_EXPECTED = "expected redis://USER:PASSWORD@HOST:PORT/DB?stream=KEY&maxlen=N (or rediss:// for TLS)"


@dataclass(frozen=True)
class RedisAddress:
    """The stream of a server that entries go to.

    Attributes:
        url: of the server, as `operators.utils.redis.connect` takes it; may hold a password, never shown.
        key: the stream's key.
        most_entries: the server trims the stream to about so many (MAXLEN ~).
    """

    url: str
    key: str
    most_entries: int = MOST_ENTRIES

    def __repr__(self) -> str:
        return f"RedisAddress({self.key!r})"


def redis_address(url: str, stream_id: str) -> RedisAddress:
    """Read `redis://USER:PASSWORD@HOST:PORT/DB?stream=KEY&maxlen=N`; `{stream}` in KEY is `stream_id`.

    Raises:
        ConfigError: `url` cannot be read; the message holds no part of it.
    """
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        key = options.pop("stream", "groundstream:{stream}").replace("{stream}", stream_id)
        most_entries = int(options.pop("maxlen", MOST_ENTRIES))
    except ValueError:
        # Its own words could quote the password.
        raise ConfigError(f"the Redis URL of an output cannot be read; {_EXPECTED}") from None
    if most_entries < 1:
        raise ConfigError(f"expected maxlen of at least 1 entry of the Redis stream, but got {most_entries}")
    # What is left are options of redis-py.
    return RedisAddress(urlunsplit(parts._replace(query=urlencode(options))), key, most_entries)


class RedisStreamSink(ServerSink):
    """Adds one entry per frame and event (XADD) with the fields `id` and `record` (JSON).

    `id` is `stream:epoch:seq` of a frame, `ID:type:seq` of an event's message.

    A server that is slow is waited for. While it is away, entries wait in memory and are delivered in order
    when it is back; what does not fit there is given up, oldest first, and counted in the
    `dropped_since_last` of the next frame's record. An entry whose delivery was not confirmed is sent again:
    consumers drop repetitions by `id`.

    Args:
        address: where the stream is.
        spool_bytes: bound of what waits.

    Raises:
        ConfigError: the address' URL cannot be read.
    """

    name = "redis"

    def __init__(self, address: RedisAddress, spool_bytes: int = SPOOL_BYTES) -> None:
        transport = RedisTransport(address)
        super().__init__(
            transport,
            MemorySpool(spool_bytes),
            Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S),
            detections=True,
            on_given_up=transport.note_lost,
            most_ahead=MOST_AHEAD,
        )


class RedisTransport:
    """The way to one stream of a server."""

    most = 256  # entries in one round trip, after an absence

    def __init__(self, address: RedisAddress) -> None:
        self._client = connect(address.url)
        self.place = f"stream {address.key} of {place_of(self._client)}"
        self._key, self._most_entries = address.key, address.most_entries
        self._lost: Counter[str] = Counter()
        self._lock = threading.Lock()

    def note_lost(self, messages: Sequence[Message]) -> None:
        """Count messages that were given up, with the losses that they were to report themselves."""
        with self._lock:
            for each in messages:
                if each.kind == "detection":
                    self._lost.update(json.loads(each.body)["dropped_since_last"])
                self._lost["redis_spool_full"] += 1

    def deliver(self, messages: Sequence[Message]) -> int:
        """Add entries in one round trip; see `Transport.deliver`.

        What was given up is older than all that waits: the first frame that goes out now says so.
        """
        bodies, count = [each.body for each in messages], 0
        at = next((at for at, each in enumerate(messages) if each.kind == "detection"), None)
        lost: Counter[str] = Counter()
        if at is not None:
            with self._lock:
                lost, self._lost = self._lost, lost
        if at is not None and lost:
            record = json.loads(bodies[at])
            dropped = dict(lost + Counter(record["dropped_since_last"]))
            bodies[at] = json_bytes(record | {"dropped_since_last": dropped})
        try:
            count = self._add([each.id for each in messages], bodies)
        finally:
            if at is not None and count <= at:  # it did not arrive, so nobody knows yet
                with self._lock:
                    self._lost += lost
        return count

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _add(self, ids: Sequence[str], bodies: Sequence[bytes]) -> int:
        """Return how many entries were taken, from the first on; why none was is raised."""
        pipeline = self._client.pipeline(transaction=False)
        for name, body in zip(ids, bodies, strict=True):
            fields = {"id": name, "record": body}
            pipeline.xadd(self._key, fields, maxlen=self._most_entries, approximate=True)  # type: ignore[arg-type]
        answers: list[object]
        try:
            answers = pipeline.execute(raise_on_error=False)
        except (redis.RedisError, OSError) as failure:
            answers = [failure]
        taken = next((at for at, each in enumerate(answers) if isinstance(each, Exception)), len(answers))
        if taken:
            return taken
        error = answers[0]
        assert isinstance(error, Exception)
        reason = reason_of(error)
        if isinstance(error, redis.AuthenticationError) or any(refusal in reason for refusal in _REFUSALS):
            raise OutputError(f"cannot write to {self.place}: {reason}")
        raise Unavailable(reason)
