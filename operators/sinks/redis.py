"""Records as entries of a Redis stream, in order, also through a restart of the server."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import NamedTuple

import redis

from groundstream.operators.errors import OutputError
from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult
from groundstream.operators.records.detection import record
from groundstream.operators.records.event import delivery_id, event_record
from groundstream.operators.sinks.base import RecordSink
from groundstream.operators.sinks.jsonl import json_bytes
from groundstream.operators.utils.redis import connect, place_of, reason_of

_log = logging.getLogger(__name__)

MOST_ENTRIES = 100_000
SPOOL_BYTES = 64 * 2**20
CLOSE_PATIENCE_S = 5.0
_PIPELINE = 200
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 5.0
# Answers that no waiting will change.
_REFUSALS = ("NOAUTH", "WRONGPASS", "NOPERM", "WRONGTYPE")


class _Entry(NamedTuple):
    """A record on its way: what consumers tell repetitions by, its JSON, the losses that it reports.

    An event's record has no place for losses: `dropped` is None.
    """

    delivery_id: str
    payload: bytes
    dropped: Mapping[str, int] | None


class RedisStreamSink(RecordSink):
    """Adds one entry per frame and event (XADD) with the fields `id` and `record` (JSON).

    `id` is `stream:epoch:seq` of a frame, `ID:type:seq` of an event's message.

    While the server is away, entries wait in a spool and are delivered in order when it is back; what the
    spool cannot hold is given up, oldest first, and counted in the `dropped_since_last` of the next
    frame's record. An entry whose delivery was not confirmed is sent again: consumers drop repetitions by
    `id`.

    Args:
        url: `redis://...` or `rediss://...`, as `operators.redis_link.connect` takes it.
        key: the stream's key.
        most_entries: the server trims the stream to about so many (MAXLEN ~).
        spool_bytes: bound of what waits.
        clock: seconds that only ever grow.

    Raises:
        ConfigError: `url` cannot be read.
    """

    name = "redis"
    pending = 0
    dropped = 0

    def __init__(
        self,
        url: str,
        key: str,
        most_entries: int = MOST_ENTRIES,
        spool_bytes: int = SPOOL_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = connect(url)
        self._place = f"stream {key} of {place_of(self._client)}"
        self._key, self._most_entries, self._spool_bytes = key, most_entries, spool_bytes
        self._clock = clock
        self._spool: deque[_Entry] = deque()
        self._waiting_bytes = 0
        self._lost: Counter[str] = Counter()
        self._wait_s = self._rests_until = 0.0
        self._reason = ""
        self._closed = False

    def write(self, result: FrameResult) -> None:
        """Deliver the record of `result` after all that wait, or let it wait with them.

        Raises:
            OutputError: the server refuses, for a reason that waiting will not change.
        """
        made = record(result)
        name = f"{made['stream_id']}:{made['epoch']}:{made['seq']}"
        self._take(_Entry(name, json_bytes(made), made["dropped_since_last"]))

    def write_event(self, event: Event) -> None:
        """Deliver the record of `event` after all that wait, or let it wait with them.

        Raises:
            OutputError: the server refuses, for a reason that waiting will not change.
        """
        self._take(_Entry(delivery_id(event), json_bytes(event_record(event)), None))

    def close(self) -> None:
        """Deliver what waits, for up to `CLOSE_PATIENCE_S`; may be called twice.

        Raises:
            OutputError: the server is still away; what waits is given up.
        """
        if self._closed:
            return
        self._closed = True
        deadline = time.monotonic() + CLOSE_PATIENCE_S
        while self._spool and not self._deliver() and time.monotonic() < deadline:
            time.sleep(_FIRST_WAIT_S)
        self._client.close()
        if left := len(self._spool):
            self._clear()
            raise OutputError(f"{left} records could not be delivered to {self._place}: {self._reason}")

    def _take(self, entry: _Entry) -> None:
        self._keep(entry)
        if not self._wait_s or self._clock() >= self._rests_until:
            self._deliver()

    def _keep(self, entry: _Entry) -> None:
        self._spool.append(entry)
        self._waiting_bytes += len(entry.payload)
        while self._waiting_bytes > self._spool_bytes and len(self._spool) > 1:
            oldest = self._spool.popleft()
            self._waiting_bytes -= len(oldest.payload)
            self.dropped += 1
            self._lost.update(oldest.dropped or {})
            self._lost["redis_spool_full"] += 1
        self.pending = len(self._spool)

    def _deliver(self) -> bool:
        """Send all that waits; False when the server is away."""
        try:
            while self._spool:
                self._report_losses()
                self._send([*islice(self._spool, _PIPELINE)])
        except (redis.RedisError, OSError) as error:
            self._failed(error)
            return False
        if self._wait_s:
            _log.warning("%s can be reached again; all that waited is delivered", self._place)
        self._wait_s = 0.0
        return True

    def _send(self, entries: list[_Entry]) -> None:
        """Send `entries` in one round trip, and keep those from the first one on that was not taken."""
        pipeline = self._client.pipeline(transaction=False)
        for entry in entries:
            fields = {"id": entry.delivery_id, "record": entry.payload}
            pipeline.xadd(self._key, fields, maxlen=self._most_entries, approximate=True)  # type: ignore[arg-type]
        for answer in pipeline.execute(raise_on_error=False):
            if isinstance(answer, redis.RedisError):
                raise answer
            self._waiting_bytes -= len(self._spool.popleft().payload)
            self.pending = len(self._spool)

    def _report_losses(self) -> None:
        """Let the frame's record that is next say what was given up before it."""
        if not self._lost:
            return
        at = next((at for at, entry in enumerate(self._spool) if entry.dropped is not None), None)
        if at is None:
            return
        entry = self._spool[at]
        dropped = dict(self._lost + Counter(entry.dropped))
        payload = json_bytes(json.loads(entry.payload) | {"dropped_since_last": dropped})
        self._spool[at] = _Entry(entry.delivery_id, payload, dropped)
        self._waiting_bytes += len(payload) - len(entry.payload)
        self._lost.clear()

    def _failed(self, error: Exception) -> None:
        """Rest for a while, longer each time; give up where that cannot help."""
        self._reason = reason = reason_of(error)
        if isinstance(error, redis.AuthenticationError) or any(refusal in reason for refusal in _REFUSALS):
            self._clear()
            self._closed = True
            raise OutputError(f"cannot write to {self._place}: {reason}") from None
        if not self._wait_s:
            _log.warning("%s cannot be written, records wait here until it can: %s", self._place, reason)
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S) or _FIRST_WAIT_S
        self._rests_until = self._clock() + self._wait_s

    def _clear(self) -> None:
        self.dropped += len(self._spool)
        self._spool.clear()
        self.pending = self._waiting_bytes = 0
