"""Delivers what waits in a spool, in order, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from groundstream.operators.errors import OutputError
from groundstream.operators.sinks.spool import Parcel, Spool
from groundstream.operators.utils.backoff import Backoff

_log = logging.getLogger(__name__)


class Later(Exception):  # noqa: N818 -- not an error: the receiver is away
    """The receiver cannot take a parcel now; it is offered again after `wait_s`, or as the backoff has it."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Refused(Exception):  # noqa: N818 -- says what the receiver did
    """The receiver will never take the first of the parcels."""


class Carrier(Protocol):
    """The way to one receiver; `carry` is called from the courier's thread only.

    Attributes:
        place: the receiver in words that may be printed.
        most: how many parcels it takes at a time.
    """

    place: str
    most: int

    def carry(self, parcels: Sequence[Parcel]) -> int:
        """Deliver parcels in order; return how many, from the first on, have arrived.

        Raises:
            Later: none has arrived, and waiting may help.
            Refused: the first one will never be taken.
            OutputError: nothing ever will be.
        """


class Courier:
    """Takes parcels at once and delivers them when their receiver is there.

    What was not confirmed is delivered again under the same id. Being away, coming back and giving parcels
    up are each said once in the log.

    Args:
        carrier: the way to the receiver.
        spool: where parcels wait; those of an earlier run go first.
        backoff: how long to wait after a failure.
        clock: seconds that only ever grow.
    """

    def __init__(
        self,
        carrier: Carrier,
        spool: Spool,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._carrier, self._spool = carrier, spool
        self._backoff, self._clock = backoff or Backoff(), clock
        self._taken = self._dropped = 0
        self._away = self._full = self._stopping = False
        self._resting_until = 0.0
        self._refusal = ""
        self._error: OutputError | None = None
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"to {carrier.place}", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Parcels of this run that have not arrived yet."""
        return min(self._taken, len(self._spool))

    @property
    def dropped(self) -> int:
        """Parcels that were given up: the spool was full, or the receiver refused them."""
        return self._dropped

    def put(self, parcel: Parcel) -> None:
        """Take a parcel; never waits for the receiver.

        Raises:
            OutputError: the receiver will never take anything.
        """
        if self._error is not None:
            raise self._error
        self._taken += 1
        try:
            given_up = self._spool.put(parcel)
        except OutputError as error:
            self._say_full(1, str(error))
            return
        if given_up:
            self._say_full(given_up, "the spool is full")
        with self._change:
            self._change.notify_all()

    def close(self, patience_s: float) -> int:
        """Deliver what waits, for up to `patience_s`; return how many parcels are left in the spool.

        A receiver that is known to be away for longer is not waited for.
        """
        deadline = self._clock() + patience_s
        with self._change:
            self._change.wait_for(lambda: self._is_over(deadline), patience_s)
            self._stopping = True
            self._change.notify_all()
        return len(self._spool)

    def join(self, timeout_s: float) -> bool:
        """Wait, after `close`, until the thread has ended; return whether it has."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _is_over(self, deadline: float) -> bool:
        return not len(self._spool) or not self._thread.is_alive() or self._resting_until > deadline

    def _run(self) -> None:
        try:
            while self._has_work():
                self._deliver()
        except OutputError as error:
            self._error = error
        except Exception as error:
            _log.exception("delivering to %s failed in a way that should not happen", self._carrier.place)
            self._error = OutputError(f"delivering to {self._carrier.place} failed: {type(error).__name__}")
        with self._change:
            self._change.notify_all()

    def _has_work(self) -> bool:
        """Wait for a parcel; False when the courier is to stop."""
        with self._change:
            self._change.wait_for(lambda: len(self._spool) or self._stopping)
            return not self._stopping

    def _deliver(self) -> None:
        """Offer the oldest parcels once; wait where that failed."""
        oldest = self._spool.head(self._carrier.most)
        if not oldest:
            return
        try:
            count = self._carrier.carry([parcel for _, parcel in oldest])
            self._say_back()
        except Later as later:
            self._rest(later)
            return
        except Refused as refused:
            count = 1
            self._say_refused(str(refused))
        try:
            self._spool.remove([number for number, _ in oldest[:count]])
        except OutputError as error:  # what has arrived will arrive again, but no faster than this
            self._rest(Later(str(error)))
        with self._change:
            self._change.notify_all()

    def _rest(self, later: Later) -> None:
        if not self._away:
            _log.warning("%s cannot be reached, messages wait until it can: %s", self._carrier.place, later)
        self._away = True
        wait_s = self._backoff.next_s() if later.wait_s is None else later.wait_s
        with self._change:
            self._resting_until = self._clock() + wait_s
            self._change.notify_all()
            self._change.wait_for(lambda: self._stopping, wait_s)

    def _say_back(self) -> None:
        self._backoff.reset()
        self._full = False
        if self._away:
            _log.warning("%s can be reached again; %d messages wait", self._carrier.place, len(self._spool))
        self._away = False

    def _say_refused(self, reason: str) -> None:
        self._dropped += 1
        if reason != self._refusal:
            _log.warning("%s refuses messages, which are given up: %s", self._carrier.place, reason)
        self._refusal = reason

    def _say_full(self, count: int, reason: str) -> None:
        self._dropped += count
        if not self._full:
            _log.warning("messages for %s are given up: %s", self._carrier.place, reason)
        self._full = True
