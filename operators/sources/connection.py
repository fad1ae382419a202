"""One connection to a camera: a thread that reads it until it ends, fails or is given up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import av
from av.container import InputContainer

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.sources.clock import Clock, Pacer
from groundstream.operators.sources.decode import (
    Address,
    Decoder,
    arrival_of,
    info_of,
    interval_of,
    open_container,
    presentation_of,
    video_stream,
)
from groundstream.operators.sources.failures import live_failure
from groundstream.operators.sources.patience import CEILING_S, Patience
from groundstream.operators.sources.queues import Line
from groundstream.operators.sources.values import SourceCounters, SourceInfo
from groundstream.operators.urls import mask
from groundstream.operators.video.tap import GopCutter

#: Inputs whose frames carry no time; libav makes up 25 frames a second. The arrival is taken instead.
_WITHOUT_TIMES = ("mpjpeg",)
#: Packets without a single picture are borne this long: who joins late waits for a key frame.
NO_PICTURE_S = 60.0


@dataclass(frozen=True)
class Camera:
    """How a camera is reached and what is expected of it.

    Attributes:
        uri: as the user gave it; shown only masked.
        address: for libav.
        floor_s: silence that is borne at any frame rate (HLS comes in segments).
        patience_s: silence that is borne, where the user says so.
        paced: what arrives faster than it was recorded (HLS segments, recordings) is played in real time.
        may_finish: an end in sight (a duration) means a recording, not a camera.
    """

    uri: str
    address: Address
    floor_s: float = 2.0
    patience_s: float | None = None
    paced: bool = False
    may_finish: bool = False


class Receiver(Protocol):
    """What a connection hands its pictures to."""

    def warn(self, message: str) -> None:
        """Say to the user, once, what is not as it was asked for."""

    def connected(self, connection: Connection, info: SourceInfo) -> None:
        """Hear that the first picture has come."""

    def cutter(self, connection: Connection, stream: av.VideoStream) -> GopCutter | None:
        """Return who takes the packets of `stream`; None when nobody does."""

    def receive(self, connection: Connection, picture: av.VideoFrame, time_s: float) -> bool:
        """Take a picture; False ends the connection."""


class Connection:
    """Reads one connection in a thread of its own and keeps the time of its last sign of life.

    A read that hangs cannot be interrupted from outside. `abandon` therefore only cuts the thread off from
    its receiver; it ends by itself when the read returns, at the latest after libav's own time limit, and
    closes its container then. Until that moment a thread, a socket and a decoder are held.
    """

    def __init__(
        self,
        camera: Camera,
        receiver: Receiver,
        counters: SourceCounters,
        line: Line,
        log: logging.Logger,
        on_end: Callable[[], None],
        resumes: bool,
    ) -> None:
        """Take what to read and for whom; `resumes` says that pictures came before this connection."""
        self.ending: SourceError | None = None
        self.finished = False
        self.frames = 0
        self._camera, self._receiver, self._resumes = camera, receiver, resumes
        self._counters, self._line, self._log, self._on_end = counters, line, log, on_end
        self._patience = Patience(camera.floor_s, camera.patience_s)
        self._abandoned = threading.Event()
        self._packets, self._busy = 0, False
        self._cutter: GopCutter | None = None
        self._last_packet = self._last_picture = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"read {log.name}", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def abandon(self) -> None:
        """Take nothing from this connection any more; the video that it has read is cut off here."""
        self._abandoned.set()
        if self._cutter is not None:
            self._cutter.end()

    @property
    def is_alive(self) -> bool:
        """Whether its thread still exists."""
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    def overdue(self) -> SourceError | None:
        """Return why this connection should be given up now, or None while it does its work."""
        now, limit_s = time.monotonic(), self._patience.limit_s
        if self._busy:  # waits for the consumer or for its own pace, not for the camera
            return None
        silence_s = now - self._last_packet
        if silence_s > limit_s:
            reason = Reason.STALLED if self.frames else Reason.TIMEOUT
            return live_failure(self._camera.uri, SourceError(f"silent for {silence_s:.1f} s", reason))
        if self._packets and now - self._last_picture > NO_PICTURE_S:
            return live_failure(self._camera.uri, SourceError("packets, but no pictures", Reason.DECODE))
        return None

    @property
    def next_check_s(self) -> float:
        """Seconds until `overdue` could say something new."""
        left_s = self._patience.limit_s - (time.monotonic() - self._last_packet)
        return min(max(left_s, 0.0) + 0.01, 1.0)

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:
            # Only a failed opening is examined: afterwards the host, the port and TLS are known to work.
            self.ending = live_failure(self._camera.uri, error, examine=self.frames == 0)
            if not isinstance(error, (av.FFmpegError, SourceError)):
                self._log.exception("reading this camera failed in an unexpected way")
        finally:
            self._on_end()

    def _read(self) -> None:
        with open_container(self._camera.address, self._receiver.warn) as container:
            stream = video_stream(container, mask(self._camera.uri), self._camera.address.threading)
            self.finished = self._camera.may_finish and container.duration is not None
            if self.finished and self._resumes:
                # The live playlist that was followed is finished: what it holds now has been seen.
                raise SourceError("the recording is complete", Reason.ENDED)
            pacer = self._pacer_for(container)
            with closing(self._pictures(container, stream)) as pictures:
                for picture, time_s in pictures:
                    if self.frames == 0:
                        self._receiver.connected(self, info_of(container, stream, picture))
                    self.frames += 1
                    if not self._hand_over(picture, time_s, pacer):
                        return
        raise SourceError("the end of the stream", Reason.ENDED)

    def _pacer_for(self, container: InputContainer) -> Pacer | None:
        in_bursts = container.format.name == "hls" or container.duration is not None
        return Pacer(self._abandoned) if self._camera.paced and in_bursts else None

    def _pictures(
        self, container: InputContainer, stream: av.VideoStream
    ) -> Generator[tuple[av.VideoFrame, float], None, None]:
        # A camera that sets its clock may leap; a true gap of that length would have been a stall.
        clock = Clock(interval_of(stream), longest_gap_s=max(CEILING_S, self._patience.limit_s))
        stamp_of = arrival_of if container.format.name in _WITHOUT_TIMES else presentation_of
        self._cutter = self._receiver.cutter(self, stream)
        decoder = Decoder(stream, clock, self._counters, self._line, stamp_of, self._cutter)
        yield from decoder.pictures(container, self._note_packet)

    def _note_packet(self) -> None:
        now = time.monotonic()
        if self._packets:
            self._patience.note_gap(now - self._last_packet)
        else:
            self._last_picture = now
        self._packets += 1
        self._last_packet = now

    def _hand_over(self, picture: av.VideoFrame, time_s: float, pacer: Pacer | None) -> bool:
        """Hand a picture on, in time; the camera is not to blame for what passes meanwhile."""
        self._busy = True
        if pacer is not None:
            pacer.wait(time_s)
        wanted = not self._abandoned.is_set() and self._receiver.receive(self, picture, time_s)
        self._last_packet = self._last_picture = time.monotonic()
        self._busy = False
        return wanted
