"""What every source is: a thread that reads, a line that frames wait in, and a status that is told."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import av

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.frames import Frame, Position
from groundstream.operators.sources.queues import InOrder, Latest, Line
from groundstream.operators.sources.values import Semantics, SourceCounters, SourceInfo, SourceStatus, State
from groundstream.operators.urls import mask

OnStatus = Callable[[SourceStatus], None]

#: Decoded frames that wait for the consumer of a file: enough to overlap decoding with its work.
_QUEUE_FRAMES = 4
#: How long `close` waits for the reading thread; one that hangs in a read is left behind.
_CLOSE_S = 0.5

_LEVELS: dict[State, int] = {
    "starting": logging.DEBUG,
    "running": logging.INFO,
    "stalled": logging.WARNING,
    "reconnecting": logging.WARNING,
    "failed": logging.ERROR,
    "ended": logging.INFO,
}


class Source(ABC):
    """Frames of one stream; iterate it once, and close it.

    Reading happens in a thread of its own, which starts with the iteration. A read that hangs blocks
    neither the iteration's `close` nor anybody else.

    Attributes:
        semantics: `file` (every frame, in order) or `live` (the newest).
        info: what is known of the video; None while a camera has not been reached.
        counters: what happened so far.
    """

    def __init__(self, stream_id: str, label: str, semantics: Semantics, on_status: OnStatus | None) -> None:
        self.semantics: Semantics = semantics
        self.info: SourceInfo | None = None
        self._stream_id, self._label = stream_id, label
        self._log = logging.getLogger(f"groundstream.stream.{stream_id}")
        self._line: Line = Latest() if semantics == "live" else InOrder(_QUEUE_FRAMES)
        self.counters = SourceCounters(frames_dropped=self._line.dropped)
        self._on_status, self._status_lock = on_status, threading.Lock()
        self._status: SourceStatus | None = None
        self._warned: set[str] = set()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: SourceError | None = None
        self._seq = itertools.count()

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames until the source ends or is closed.

        Raises:
            SourceError: the source cannot be read (further).
        """
        if self._thread is None and not self._closing.is_set():
            self._thread = threading.Thread(target=self._run, name=f"source {self._stream_id}", daemon=True)
            self._thread.start()
        while (frame := self._line.take()) is not None:
            yield frame
        if self._failure is not None:
            raise self._failure

    def go_on_after(self, position: Position) -> None:
        """Number frames from the one after `position` on; comes before the iteration.

        A file is opened at the time of that frame, which it leaves out; a camera begins the next epoch.
        """
        self._seq = itertools.count(position.seq + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop, from any thread, as often as wanted; takes half a second at most. An iteration ends."""
        self._closing.set()
        self._line.close()
        if self._thread is None:
            self._release()
        elif self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_S)

    @abstractmethod
    def _produce(self) -> None:
        """Read the source to its end or until `_closing`; runs in the source's thread."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of what the source holds; called once it is not read any more."""

    def _run(self) -> None:
        try:
            self._produce()
        except SourceError as error:
            self._fail(error)
        except Exception as error:
            failure = SourceError(f"{self._label}: {type(error).__name__}: {mask(str(error))}", Reason.OTHER)
            failure.__cause__ = None if isinstance(error, av.FFmpegError) else error
            self._fail(failure)
        finally:
            self._release()
            self._line.finish()

    def _fail(self, error: SourceError) -> None:
        self._failure = error
        self._tell("failed", error.reason, str(error), self._status.epoch if self._status else 1)

    def warn(self, message: str) -> None:
        """Log a warning about this stream, once."""
        if message not in self._warned:
            self._warned.add(message)
            self._log.warning("%s: %s", self._label, message)

    def _hand_on(self, picture: av.VideoFrame, time_s: float, epoch: int) -> bool:
        """Put a picture on the line; False when nobody wants it any more."""
        frame = Frame(self._stream_id, epoch, next(self._seq), time_s, time.time(), picture)
        return self._line.put(frame)

    def _tell(self, state: State, reason: Reason | None, message: str, epoch: int) -> None:
        """Report and log a change of state or reason; repetitions are silent."""
        with self._status_lock:
            last = self._status
            if last is not None and (last.state, last.reason) == (state, reason):
                return
            self._status = status = SourceStatus(state, reason, message, epoch)
            level = logging.WARNING if state == "ended" and reason else _LEVELS[state]
            self._log.log(level, "%s", message)
            if self._on_status is not None:
                try:
                    self._on_status(status)
                except Exception:  # a listener's fault must not stop the camera
                    self._log.exception("the listener to the status of this stream failed")
