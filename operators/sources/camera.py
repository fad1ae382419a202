"""Cameras: a live source that comes back by itself."""

from __future__ import annotations

import threading
import time

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.frames import Position
from groundstream.operators.sources.base import OnStatus, Semantics, Source, SourceInfo, State
from groundstream.operators.sources.connection import CameraSpec, Connection
from groundstream.operators.sources.decode import FramePath
from groundstream.operators.sources.options import SourceOptions
from groundstream.operators.urls import mask
from groundstream.operators.utils.backoff import Backoff
from groundstream.operators.video.tap import PacketTap

#: A connection that lasted this long was a good one: the next loss is tried again quickly.
_GOOD_STRETCH_S = 10.0
#: Connections that hang in a read may pile up to this number; then none is opened until one has ended.
MAX_ABANDONED = 3
_CROWDED_S = 1.0
_CLOSE_S = 0.5


class CameraSource(Source):
    """Frames of a camera, with a new epoch for each connection that delivers.

    A camera that is away, at the start or later, is tried again for ever: after half a second, then ever
    slower up to 30 s, at random distances. A refused password is tried again at the slow end only, so that
    the camera does not lock the user out, and yet a correction at the camera is found. With `file` semantics
    every frame is kept in order while the connection lasts, and the camera has to wait for a slow consumer.
    """

    def __init__(
        self,
        stream_id: str,
        camera: CameraSpec,
        semantics: Semantics,
        options: SourceOptions,
        on_status: OnStatus | None,
        backoff: Backoff | None = None,
        tap: PacketTap | None = None,
    ) -> None:
        super().__init__(stream_id, mask(camera.uri), semantics, on_status)
        self._camera, self._options, self._tap = camera, options, tap
        self._backoff = backoff or Backoff()
        self._wake = threading.Event()
        self._current: Connection | None = None
        self._abandoned: list[Connection] = []
        self._epoch = 0

    def close(self) -> None:
        """Stop, from any thread, as often as wanted; takes a second at most. An iteration ends."""
        self.closing.set()
        self._wake.set()
        super().close()

    def resume_after(self, position: Position) -> None:
        """Begin the epoch after that of `position`."""
        super().resume_after(position)
        self._epoch = position.epoch

    def _produce(self) -> None:
        self._report("starting", None, f"{self._label}: connecting", epoch=1)
        while not self.closing.is_set():
            started = time.monotonic()
            connection = self._connect()
            failure = self._watch(connection)
            self._leave(connection)
            if self.closing.is_set():
                break
            if failure.reason is Reason.ENDED and (connection.finished or not self._options.reconnect):
                self._report("ended", None, f"{self._label}: ended", self._epoch)
                break
            if not self._options.reconnect:
                raise failure
            self._wait_after(
                failure, good=connection.frames > 0 and time.monotonic() - started > _GOOD_STRETCH_S
            )

    def _connect(self) -> Connection:
        def epoch() -> int | None:
            # The first frame begins the epoch; what was read before it belongs to nobody. So does what comes
            # late from a connection that was given up.
            return self._epoch if connection is self._current and connection.frames else None

        self._wake.clear()
        path = FramePath(self, self._options, epoch, self._tap)
        connection = Connection(
            self._camera, path, self._begin_epoch, on_end=self._wake.set, resumes=self._epoch > 0
        )
        self._current = connection
        connection.start()
        return connection

    def _begin_epoch(self, connection: Connection, info: SourceInfo) -> None:
        """Begin a new epoch with the first frame of `connection`."""
        if connection is not self._current:
            return
        self._epoch += 1
        self.counters.reconnects = self._epoch - 1
        self.info = info
        words = f"{self._label}: running, {info.width}x{info.height} {info.codec}"
        self._report("running", None, words, self._epoch)

    def _watch(self, connection: Connection) -> SourceError:
        """Wait until `connection` has ended, is overdue, or the source closes; return why."""
        while not self.closing.is_set():
            self._wake.wait(connection.next_check_s)
            self._wake.clear()  # it may have been an older connection that ended at last
            if connection.ending is not None:
                return connection.ending
            overdue = connection.overdue()
            if overdue is not None:
                self.counters.stalls += 1
                return overdue
        return SourceError(f"{self._label}: closed", Reason.ENDED)

    def _leave(self, connection: Connection) -> None:
        connection.abandon()
        self._current = None
        connection.join(_CLOSE_S if self.closing.is_set() else 0.0)
        self._abandoned = [other for other in (*self._abandoned, connection) if other.is_alive]

    def _wait_after(self, failure: SourceError, good: bool) -> None:
        state: State = "stalled" if failure.reason is Reason.STALLED else "reconnecting"
        self._report(state, failure.reason, f"{failure}; trying again", max(self._epoch, 1))
        if good:
            self._backoff.reset()
        slow = failure.reason is Reason.AUTHENTICATION
        self.closing.wait(self._backoff.slowest_s() if slow else self._backoff.next_s())
        while len(self._abandoned) >= MAX_ABANDONED and not self.closing.wait(_CROWDED_S):
            self._abandoned = [other for other in self._abandoned if other.is_alive]
        if state == "stalled":
            self._report("reconnecting", failure.reason, f"{self._label}: connecting again", self._epoch)

    def _release(self) -> None:
        """Hold nothing: each connection closes its own container."""
