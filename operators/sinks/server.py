"""What the sinks share whose place is a server: MQTT, Redis, webhooks."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

from groundstream.operators.errors import OutputError
from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult
from groundstream.operators.records import event_record
from groundstream.operators.records.detection import json_bytes, shared_json
from groundstream.operators.records.event import delivery_id
from groundstream.operators.sinks.base import Sink
from groundstream.operators.sinks.delivery import Delivery, Transport
from groundstream.operators.sinks.spool import Message, Spool
from groundstream.operators.utils.backoff import Backoff

_log = logging.getLogger(__name__)

#: So many messages may wait for a server that is there, but slow, where nothing is to be lost: then the sink
#: waits, and with it a file. A killed process takes no more of them with it.
MOST_AHEAD = 64
#: So long a sink that is closed goes on delivering what waits.
CLOSE_PATIENCE_S = 5.0


class ServerSink(Sink):
    """A sink whose messages go out in a thread of its own; it never waits for a receiver that is away.

    Args:
        transport: the way to the receiver.
        spool: where messages wait.
        backoff: how long to wait after a failure.
        detections: whether frames are sent; events always are.
        on_given_up: told of messages that were given up, see `Delivery`.
        most_ahead: so many messages may wait for a receiver that is there, but slow, see `Delivery`.
    """

    def __init__(
        self,
        transport: Transport,
        spool: Spool,
        backoff: Backoff,
        *,
        detections: bool,
        on_given_up: Callable[[Sequence[Message]], None] | None = None,
        most_ahead: float = math.inf,
    ) -> None:
        self._transport, self._spool, self._detections = transport, spool, detections
        self._delivery = Delivery(transport, spool, backoff, on_given_up=on_given_up, most_ahead=most_ahead)
        self._closed = False
        self._left = 0

    @property
    def pending(self) -> int:
        """Messages of this run that the receiver has not confirmed yet."""
        return 0 if self._left else self._delivery.pending

    @property
    def dropped(self) -> int:
        """Messages that were given up: refused, too old for a full spool, or left at the end."""
        return self._delivery.dropped + self._left

    def write(self, result: FrameResult) -> None:
        """Send the record of a frame, where frames are asked for.

        Raises:
            OutputError: the receiver will never take anything.
        """
        if self._detections:
            frame = result.frame
            name = f"{frame.stream_id}:{frame.epoch}:{frame.seq}"
            self._delivery.put(Message("detection", name, shared_json(result)))

    def write_event(self, event: Event) -> None:
        """Send one message about an event.

        Raises:
            OutputError: the receiver will never take anything.
        """
        self._delivery.put(Message("event", delivery_id(event), json_bytes(event_record(event))))

    def close(self) -> None:
        """Deliver what waits, for up to `CLOSE_PATIENCE_S`; a spool on disk keeps the rest for the next run.

        May be called twice.

        Raises:
            OutputError: the receiver is away, or takes nothing, and what waits is given up.
        """
        if self._closed:
            return
        self._closed = True
        left, place = self._delivery.close(CLOSE_PATIENCE_S), self._transport.place
        if self._delivery.ended:  # else a call hangs, and its thread still uses both
            self._transport.close()
            self._spool.close()
        if left and self._spool.place:
            _log.warning("%d messages for %s wait in %s for the next run", left, place, self._spool.place)
        elif left:
            self._left = left
            reason = self._delivery.reason
            raise self._delivery.error or OutputError(
                f"{left} messages could not be delivered to {place}: {reason}"
            )
