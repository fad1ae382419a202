"""What every source is: a thread that reads, a queue that frames wait in, and a status that is told."""

from __future__ import annotations

import itertools
import logging
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from types import TracebackType
from typing import Literal, Self

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.frames import Frame, Position
from groundstream.operators.sources.queues import FifoQueue, FrameQueue, LatestQueue
from groundstream.operators.urls import mask

Semantics = Literal["file", "live"]
State = Literal["starting", "running", "stalled", "reconnecting", "failed", "ended"]

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


@dataclass(frozen=True)
class SourceInfo:
    """What a source says of its video.

    Attributes:
        width: of the upright picture, in pixels; may change from image to image and after a reconnect.
        height: of the upright picture, in pixels.
        fps: nominal frames per second; None where unknown.
        duration_s: length of the whole source in seconds; None where it has no end.
        frame_count: frames of the whole source, an estimate; None where it has no end.
        codec: name of the decoder (`h264`).
        pixel_format: of the decoded frames (`yuv420p`).
        time_base: unit of the time stamps in seconds; None for images.
    """

    width: int
    height: int
    fps: float | None
    duration_s: float | None
    frame_count: int | None
    codec: str
    pixel_format: str
    time_base: Fraction | None


@dataclass(frozen=True)
class SourceStatus:
    """Where a source stands.

    Attributes:
        state: `starting`, `running`, `stalled` (connected but silent), `reconnecting` (away, tried again),
            `failed` (given up) or `ended`.
        reason: why it is not running; None where all is well.
        message: one sentence for a person, without credentials.
        epoch: of the connection that it is about; 1 for files.
    """

    state: State
    reason: Reason | None
    message: str
    epoch: int


@dataclass
class SourceCounters:
    """What a source did since its start.

    Attributes:
        frames_read: frames decoded inside the asked range, those skipped by `fps` included.
        frames_skipped: frames that sampling by `fps` left out.
        frames_dropped: frames lost, by reason (`newer_frame`, `corrupt_packet`, `unreadable_image`).
        frames_damaged: frames that the decoder delivered although parts of them were concealed.
        packets_corrupt: packets that could not be decoded, or were marked as damaged.
        times_repaired: frames whose time stamp was missing or did not grow.
        reconnects: connections after the first one that delivered frames.
        stalls: connections given up because nothing came any more.
    """

    frames_read: int = 0
    frames_skipped: int = 0
    frames_dropped: Counter[str] = field(default_factory=Counter)
    frames_damaged: int = 0
    packets_corrupt: int = 0
    times_repaired: int = 0
    reconnects: int = 0
    stalls: int = 0


OnStatus = Callable[[SourceStatus], None]


class Source(ABC):
    """Frames of one stream; iterate it once, and close it.

    Reading happens in a thread of its own, which starts with the iteration. A read that hangs blocks
    neither the iteration's `close` nor anybody else. How a frame comes about stands in `decode.py`.

    Attributes:
        stream_id: name of the stream in its frames and logs.
        semantics: `file` (every frame, in order) or `live` (the newest).
        info: what is known of the video; None while a camera has not been reached.
        counters: what happened so far.
        queue: where frames wait for the iteration.
        numbers: of the frames to come; they go on over reconnects.
        closing: set once nobody wants frames any more.
        log: of this stream.
    """

    def __init__(self, stream_id: str, label: str, semantics: Semantics, on_status: OnStatus | None) -> None:
        self.stream_id = stream_id
        self.semantics: Semantics = semantics
        self.info: SourceInfo | None = None
        # Live: a slow consumer gets the newest frame and the loss is counted. File: the reader waits for it.
        self.queue: FrameQueue = LatestQueue() if semantics == "live" else FifoQueue(_QUEUE_FRAMES)
        self.counters = SourceCounters(frames_dropped=self.queue.dropped)
        self.numbers = itertools.count()
        self.closing = threading.Event()
        self.log = logging.getLogger(f"groundstream.stream.{stream_id}")
        self._label = label
        self._on_status, self._status_lock = on_status, threading.Lock()
        self._status: SourceStatus | None = None
        self._warned: set[str] = set()
        self._thread: threading.Thread | None = None
        self._failure: SourceError | None = None

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames until the source ends or is closed.

        Raises:
            SourceError: the source cannot be read (further).
        """
        if self._thread is None and not self.closing.is_set():
            # A daemon: a read that hangs must not keep the interpreter from ending.
            self._thread = threading.Thread(target=self._run, name=f"source {self.stream_id}", daemon=True)
            self._thread.start()
        while (frame := self.queue.take()) is not None:
            yield frame
        if self._failure is not None:
            raise self._failure

    def resume_after(self, position: Position) -> None:
        """Number frames from the one after `position` on; comes before the iteration.

        A file is opened at the time of that frame, which it leaves out; a camera begins the next epoch.
        """
        self.numbers = itertools.count(position.seq + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop, from any thread, as often as wanted; takes half a second at most. An iteration ends."""
        self.closing.set()
        self.queue.close()
        if self._thread is None:
            self._release()
        elif self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_S)

    def warn(self, message: str) -> None:
        """Log a warning about this stream, once."""
        if message not in self._warned:
            self._warned.add(message)
            self.log.warning("%s: %s", self._label, message)

    @abstractmethod
    def _produce(self) -> None:
        """Read the source to its end or until `closing`; runs in the source's thread."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of what the source holds; called once it is not read any more."""

    def _run(self) -> None:
        try:
            self._produce()
        except SourceError as error:
            self._fail(error)
        except Exception as error:
            import av  # here, so that who wants only the values of this module does without it

            failure = SourceError(f"{self._label}: {type(error).__name__}: {mask(str(error))}", Reason.OTHER)
            # libav's errors hold the address with its credentials: they must not come along as the cause.
            failure.__cause__ = None if isinstance(error, av.FFmpegError) else error
            self._fail(failure)
        finally:
            self._release()
            self.queue.finish()

    def _fail(self, error: SourceError) -> None:
        self._failure = error
        self._report("failed", error.reason, str(error), self._status.epoch if self._status else 1)

    def _report(self, state: State, reason: Reason | None, message: str, epoch: int) -> None:
        """Report and log a change of state or reason; repetitions are silent."""
        with self._status_lock:
            last = self._status
            if last is not None and (last.state, last.reason) == (state, reason):
                return
            self._status = status = SourceStatus(state, reason, message, epoch)
            level = logging.WARNING if state == "ended" and reason else _LEVELS[state]
            self.log.log(level, "%s", message)
            if self._on_status is not None:
                try:
                    self._on_status(status)
                except Exception:  # a listener's fault must not stop the camera
                    self.log.exception("the listener to the status of this stream failed")
