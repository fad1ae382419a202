"""Runs a sink in a thread of its own, behind a bounded queue.

Beside `utils.worker.Worker`, not on it: that one refuses what does not fit, goes on after a failure and
counts bytes. Here the caller waits, or the oldest result goes (never an event before it) and the next one
says so; the first failure is the last; what takes too long is abandoned; and the lag is known. Of that queue
nothing would be left but the thread.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Literal

from groundstream.operators.errors import OutputError
from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult
from groundstream.operators.sinks.base import Sink

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerCounters:
    """What became of the results and events that a worker was given.

    Attributes:
        written: they are at their place; also after `kill -9`.
        waiting: they are in the queue, or in a sink that waits for its server.
        dropped: they were given up: the queue or the sink was full, or the sink had failed.
        errors: 1 once the sink has failed.
        lag_s: seconds since the oldest one that is not written was put.
    """

    written: int
    waiting: int
    dropped: int
    errors: int
    lag_s: float


class SinkWorker:
    """Takes results and events off the hot path, in order; a sink that fails is reported once and left alone.

    Results that are dropped from a full queue are counted in the next result's `dropped`, together with
    what those results had counted themselves.

    Args:
        sink: where results and events go; only this worker's thread calls it.
        capacity: results and events that may wait. Pictures are kept only for sinks that draw.
        when_full: `block` makes `put` wait; `drop_oldest` gives up the result that waits longest, and an
            event only where nothing but events waits.
        after_seq: results up to this frame are there already, from a process that died; they are passed over.
        on_error: called once, as a rule from the worker's thread, with the sink's name and why it failed.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        capacity: int,
        when_full: Literal["block", "drop_oldest"],
        on_error: Callable[[str, OutputError], None],
        after_seq: int = -1,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"expected a capacity of at least 1 result, but got {capacity}")
        self.name = sink.name
        self._sink = sink
        self._capacity, self._when_full, self._on_error = capacity, when_full, on_error
        self._after_seq = after_seq
        self._queue: deque[tuple[float, FrameResult | Event]] = deque()
        self._change = threading.Condition()
        self._lost: Counter[str] = Counter()
        self._done = self._dropped = 0
        self._writing_since: float | None = None
        self._closing = self._failed = False
        self._give_up_at = math.inf
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> bool:
        """True once the sink has failed; results are dropped from then on."""
        return self._failed

    @property
    def counters(self) -> WorkerCounters:
        """A snapshot of the counters."""
        held, given_up = self._sink.pending, self._sink.dropped
        with self._change:
            times = [self._writing_since] if self._writing_since is not None else []
            times += [self._queue[0][0]] if self._queue else []
            return WorkerCounters(
                written=max(0, self._done - held - given_up),
                waiting=len(self._queue) + held + (self._writing_since is not None),
                dropped=self._dropped + given_up,
                errors=int(self._failed),
                lag_s=monotonic() - min(times) if times else 0.0,
            )

    def put(self, result: FrameResult) -> None:
        """Hand on one result; safe from several threads. After a failure or `close` it is dropped."""
        if result.frame.seq > self._after_seq:
            # A queue of results holds no pixels; all queues hold one and the same result, and its record.
            self._put(result if self._sink.needs_picture else result.without_picture)

    def put_event(self, event: Event) -> None:
        """Hand on one message about an event, after the results before it; otherwise like `put`."""
        self._put(event)

    def _put(self, item: FrameResult | Event) -> None:
        with self._change:
            if self._when_full == "block":
                self._change.wait_for(lambda: len(self._queue) < self._capacity or self._ended())
            if self._ended():
                self._dropped += 1
                return
            if len(self._queue) == self._capacity:
                self._drop_oldest()
            self._queue.append((monotonic(), item))
            self._change.notify_all()

    def close(self, timeout_s: float = 30.0) -> None:
        """Write what waits, finish the sink and end the thread; may be called twice.

        A sink that needs more than `timeout_s` is reported like one that failed, and abandoned.
        """
        with self._change:
            self._closing = True
            self._give_up_at = min(self._give_up_at, monotonic() + timeout_s)
            self._change.notify_all()
        if threading.current_thread() is self._thread:
            return
        self._thread.join(max(0.0, self._give_up_at - monotonic()))
        if self._thread.is_alive() and self._mark_failed():
            late = f"the output {self.name} was not finished within {timeout_s:g} s and is left as it is"
            self._on_error(self.name, OutputError(late))

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                if isinstance(item, Event):
                    self._sink.write_event(item)
                else:
                    self._sink.write(item)
                with self._change:
                    self._writing_since = None
                    self._done += 1
            self._sink.close()
        except OutputError as error:
            self._stop_after(error)
        except Exception as error:
            _log.exception("the output %s failed in a way that should not happen", self.name)
            self._stop_after(OutputError(f"the output {self.name} failed: {error!r}"))

    def _drop_oldest(self) -> None:
        """Give up the oldest result; one event says more than one frame of many."""
        at = next((at for at, (_, item) in enumerate(self._queue) if isinstance(item, FrameResult)), 0)
        _, oldest = self._queue[at]
        del self._queue[at]
        self._dropped += 1
        if isinstance(oldest, FrameResult):
            self._lost.update(oldest.frame.dropped)
        self._lost[f"{self.name}_full"] += 1

    def _next(self) -> FrameResult | Event | None:
        """Wait for a result or an event; None when the worker is closing and all are written."""
        with self._change:
            self._change.wait_for(lambda: self._queue or self._ended())
            if not self._queue:
                return None
            self._writing_since, item = self._queue.popleft()
            self._change.notify_all()
            if isinstance(item, Event):
                return item
            lost, self._lost = self._lost, Counter()
        return item.with_dropped(lost + Counter(item.frame.dropped)) if lost else item

    def _stop_after(self, error: OutputError) -> None:
        if self._mark_failed():
            # The first error is the one to report; closing still keeps what can be kept.
            with contextlib.suppress(Exception):
                self._sink.close()
            self._on_error(self.name, error)

    def _mark_failed(self) -> bool:
        """Drop all that waits, let waiting callers go; False when that was done before."""
        with self._change:
            if self._failed:
                return False
            self._failed = True
            self._dropped += len(self._queue) + (self._writing_since is not None)
            self._writing_since = None
            self._queue.clear()
            self._change.notify_all()
        return True

    def _ended(self) -> bool:
        return self._closing or self._failed
