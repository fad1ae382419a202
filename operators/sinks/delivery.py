"""Delivery of messages to a receiver that may be away: they wait in a spool, and go out in order.

`Delivery` takes messages and puts them into its spool; its thread offers the oldest to the `Transport`, the
way to one receiver. At least once: what was not confirmed is delivered again under the same id, by which
receivers know it.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from groundstream.operators.errors import OutputError
from groundstream.operators.sinks.spool import Message, Spool
from groundstream.operators.utils.backoff import Backoff

_log = logging.getLogger(__name__)
_JOIN_S = 12.0  # longer than any one call of a transport
_FULL = "the spool is full"


class Unavailable(Exception):  # noqa: N818 -- not an error: the receiver is away
    """The receiver takes nothing now; it is tried again after `wait_s`, or as the backoff has it."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Refused(Exception):  # noqa: N818 -- says what the receiver did
    """The receiver will never take the first of the messages."""


class Transport(Protocol):
    """The way to one receiver; `deliver` is called from the delivery's thread only.

    Attributes:
        place: the receiver in words that may be printed.
        most: how many messages it takes at a time.
    """

    place: str
    most: int

    def deliver(self, messages: Sequence[Message]) -> int:
        """Deliver messages in order; return how many, from the first on, have arrived.

        Raises:
            Unavailable: none has arrived, and waiting may help.
            Refused: the first one will never be taken.
            OutputError: nothing ever will be.
        """

    def close(self) -> None:
        """Let go of the receiver."""


class Delivery:
    """Takes messages at once and delivers them when their receiver is there.

    Being away, coming back and giving messages up are each said once in the log.

    Beside `utils.worker.Worker`, not on it: what waits here may be on disk, goes out many at a time, and
    stays until it is confirmed.

    Attributes:
        error: why nothing will ever be delivered; None while that is not so.
        reason: why the receiver was away last.

    Args:
        transport: the way to the receiver.
        spool: where messages wait; those of an earlier run go first.
        backoff: how long to wait after a failure.
        on_given_up: called with messages that will not arrive, older than all that wait, from any thread.
        most_ahead: `put` waits while so many messages wait for a receiver that is there, but slow.
        clock: seconds that only ever grow.
    """

    def __init__(
        self,
        transport: Transport,
        spool: Spool,
        backoff: Backoff | None = None,
        *,
        on_given_up: Callable[[Sequence[Message]], None] | None = None,
        most_ahead: float = math.inf,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._transport, self._spool, self._most_ahead = transport, spool, most_ahead
        self._backoff, self._clock, self._on_given_up = backoff or Backoff(), clock, on_given_up
        self._taken = self._dropped = 0
        self._in_flight: set[str] = set()
        self._overtaken: list[Message] = []
        self._away = self._full = self._stopping = False
        self._resting_until = 0.0
        self._refusal = ""
        self.error: OutputError | None = None
        self.reason = "it does not answer"
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"to {transport.place}", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Messages of this run that have not arrived yet."""
        return min(self._taken, len(self._spool) + len(self._overtaken))

    @property
    def dropped(self) -> int:
        """Messages that were given up: the spool was full, or the receiver refused them."""
        return self._dropped

    @property
    def ended(self) -> bool:
        """Whether transport and spool are used no more."""
        return not self._thread.is_alive()

    def put(self, message: Message) -> None:
        """Take a message; never waits for a receiver that is away, and for a slow one as `most_ahead` has it.

        Raises:
            OutputError: the receiver will never take anything.
        """
        with self._change:
            self._change.wait_for(
                lambda: (
                    len(self._spool) < self._most_ahead
                    or (self._away or self._stopping or self.error is not None)
                )
            )
            if self.error is not None:
                raise self.error
            self._taken += 1
            try:
                given_up = self._spool.put(message)
            except OutputError as error:
                self._give_up([message], str(error))
                return
            # What is being delivered right now may arrive although it had to make room: wait and see.
            self._overtaken += [each for each in given_up if each.id in self._in_flight]
            self._give_up([each for each in given_up if each.id not in self._in_flight], _FULL)
            self._change.notify_all()

    def close(self, patience_s: float, join_s: float = _JOIN_S) -> int:
        """Deliver what waits, for up to `patience_s`; return how many messages are left in the spool.

        A receiver that is known to be away for longer is not waited for. Of a call that hangs longer than
        `join_s` the end is not waited for, see `ended`.
        """
        deadline = self._clock() + patience_s
        with self._change:
            # `error`, not `ended`: the thread says why it ends and wakes this one while it is still alive.
            self._change.wait_for(
                lambda: not len(self._spool) or self.error is not None or self._resting_until > deadline,
                patience_s,
            )
            self._stopping = True
            self._change.notify_all()
        self._thread.join(join_s)
        return len(self._spool)

    def _run(self) -> None:
        place = self._transport.place
        try:
            while True:
                with self._change:
                    self._change.wait_for(lambda: len(self._spool) or self._stopping)
                    if self._stopping:
                        break
                self._deliver()
        except OutputError as error:
            self.error = error
        except Exception as error:
            _log.exception("delivering to %s failed in a way that should not happen", place)
            self.error = OutputError(f"delivering to {place} failed: {type(error).__name__}")
        with self._change:
            self._change.notify_all()

    def _deliver(self) -> None:
        """Offer the oldest messages once; wait where that failed."""
        with self._change:
            offered = self._spool.oldest(self._transport.most)
            self._in_flight = {message.id for _, message in offered}
        count, unavailable = 0, None
        try:
            count = self._transport.deliver([message for _, message in offered])
            self._say_back()
        except Unavailable as error:
            unavailable = error
        except Refused as refused:
            count = 1
            self._say_refused(offered[0][1], str(refused))
        finally:
            unavailable = self._settle(offered[:count]) or unavailable
        if unavailable is not None:
            self._rest(unavailable)

    def _settle(self, done: Sequence[tuple[int, Message]]) -> Unavailable | None:
        """Forget what has arrived; return why that could not be, so that it will arrive again, but later."""
        arrived = {message.id for _, message in done}
        with self._change:
            self._in_flight = set()
            overtaken, self._overtaken = self._overtaken, []
            self._give_up([each for each in overtaken if each.id not in arrived], _FULL)
            try:
                self._spool.remove([number for number, _ in done])
            except OutputError as error:
                return Unavailable(str(error))
            finally:
                self._change.notify_all()
        return None

    def _rest(self, unavailable: Unavailable) -> None:
        self.reason = str(unavailable)
        if not self._away:
            what = "%s cannot be reached, messages wait until it can: %s"
            _log.warning(what, self._transport.place, self.reason)
        self._away = True
        wait_s = self._backoff.next_s() if unavailable.wait_s is None else unavailable.wait_s
        with self._change:
            self._resting_until = self._clock() + wait_s
            self._change.notify_all()
            self._change.wait_for(lambda: self._stopping, wait_s)

    def _say_back(self) -> None:
        self._backoff.reset()
        self._full = False
        if self._away:
            _log.warning("%s can be reached again; %d messages wait", self._transport.place, len(self._spool))
        self._away = False

    def _say_refused(self, message: Message, reason: str) -> None:
        with self._change:
            self._count_given_up([message])
        if reason != self._refusal:
            _log.warning("%s refuses messages, which are given up: %s", self._transport.place, reason)
        self._refusal = reason

    def _give_up(self, messages: Sequence[Message], reason: str) -> None:
        if not messages:
            return
        self._count_given_up(messages)
        if not self._full:
            _log.warning("messages for %s are given up: %s", self._transport.place, reason)
        self._full = True

    def _count_given_up(self, messages: Sequence[Message]) -> None:
        self._dropped += len(messages)
        if self._on_given_up is not None:
            self._on_given_up(messages)
