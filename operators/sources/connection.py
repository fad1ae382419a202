"""One connection to a camera: a thread that reads it until it ends, fails or is given up."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import av

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.sources.base import SourceInfo
from groundstream.operators.sources.container import (
    Address,
    info_of,
    interval_of,
    open_container,
    video_stream,
)
from groundstream.operators.sources.decode import Clock, FramePath, Pacer, arrival_of, presentation_of
from groundstream.operators.sources.failures import live_failure
from groundstream.operators.urls import mask

#: Silence that is borne while the frame rate is not known: connecting, first packet, first few frames.
START_S = 20.0
#: No camera is waited for longer than this unless the user says so.
CEILING_S = 60.0
_MEASURED_GAPS = 5
_REMEMBERED_GAPS = 100
#: Inputs whose frames carry no time; libav makes up 25 frames a second. The arrival is taken instead.
_WITHOUT_TIMES = ("mpjpeg",)
#: Packets without a single picture are borne this long: who joins late waits for a key frame.
NO_PICTURE_S = 60.0


@dataclass(frozen=True)
class CameraSpec:
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


class Patience:
    """Follows the distance of a camera's packets.

    The limit is ten median distances or three times the longest recent one, whichever is longer, between
    `floor_s` and 60 s: a camera of 25 frames a second is given up after two seconds of silence, one that
    sends a frame every five seconds after fifty, one whose network hiccups for a second after three.
    """

    def __init__(self, floor_s: float, fixed_s: float | None = None) -> None:
        """Take the lowest limit, and the user's own limit, which then always holds."""
        self._floor_s, self._fixed_s = floor_s, fixed_s
        self._gaps_s: deque[float] = deque(maxlen=_REMEMBERED_GAPS)

    def note_gap(self, gap_s: float) -> None:
        """Take the time between two packets into account."""
        self._gaps_s.append(gap_s)

    @property
    def limit_s(self) -> float:
        """Seconds of silence after which the stream counts as stalled."""
        if self._fixed_s is not None:
            return self._fixed_s
        gaps_s = tuple(self._gaps_s)  # the reading thread appends meanwhile
        if len(gaps_s) < _MEASURED_GAPS:
            return START_S
        wanted_s = max(self._floor_s, 10 * statistics.median(gaps_s), 3 * max(gaps_s))
        return min(wanted_s, CEILING_S)


class Connection:
    """Reads one connection in a thread of its own and keeps the time of its last sign of life.

    A read that hangs cannot be interrupted from outside. `abandon` therefore only cuts the thread off from
    its receiver; it ends by itself when the read returns, at the latest after libav's own time limit, and
    closes its container then. Until that moment a thread, a socket and a decoder are held.

    Attributes:
        frames: how many were decoded.
        ending: why it ended; None while it reads.
        finished: that what it reads is a recording with an end.
    """

    def __init__(
        self,
        camera: CameraSpec,
        path: FramePath,
        on_first: Callable[[Connection, SourceInfo], None],
        on_end: Callable[[], None],
        resumes: bool,
    ) -> None:
        """Take what to read and where its frames go; `resumes`: frames came before this connection."""
        self.frames = 0
        self.ending: SourceError | None = None
        self.finished = False
        self._camera, self._path, self._resumes = camera, path, resumes
        self._on_first, self._on_end = on_first, on_end
        self._patience = Patience(camera.floor_s, camera.patience_s)
        self._abandoned = threading.Event()
        self._packets, self._busy = 0, False
        self._last_packet = self._last_picture = time.monotonic()
        name = f"read {path.source.log.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def abandon(self) -> None:
        """Take nothing from this connection any more; the video that it has read is cut off here."""
        self._abandoned.set()
        self._path.end_segment()

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
                self._path.source.log.exception("reading this camera failed in an unexpected way")
        finally:
            self._on_end()

    def _read(self) -> None:
        address = self._camera.address
        with open_container(address, self._path.source.warn) as container:
            stream = video_stream(container, mask(self._camera.uri), address.threading)
            self.finished = self._camera.may_finish and container.duration is not None
            if self.finished and self._resumes:
                # The live playlist that was followed is finished: what it holds now has been seen.
                raise SourceError("the recording is complete", Reason.ENDED)
            in_bursts = container.format.name == "hls" or container.duration is not None
            if self._camera.paced and in_bursts:
                self._path.pacer = Pacer(self._abandoned)
            # A camera that sets its clock may leap; a true gap of that length would have been a stall.
            clock = Clock(interval_of(stream), longest_gap_s=max(CEILING_S, self._patience.limit_s))
            stamp_of = arrival_of if container.format.name in _WITHOUT_TIMES else presentation_of
            decoded = self._path.decoded(container, stream, clock, stamp_of, self._note_packet)
            with closing(decoded) as frames:
                for frame, time_s in frames:
                    if self.frames == 0:
                        self._on_first(self, info_of(container, stream, frame))
                    self.frames += 1
                    if not self._deliver(frame, time_s):
                        return
        raise SourceError("the end of the stream", Reason.ENDED)

    def _note_packet(self) -> None:
        now = time.monotonic()
        if self._packets:
            self._patience.note_gap(now - self._last_packet)
        else:
            self._last_picture = now
        self._packets += 1
        self._last_packet = now

    def _deliver(self, frame: av.VideoFrame, time_s: float) -> bool:
        """Hand a frame on; the camera is not to blame for the time that passes meanwhile."""
        self._busy = True
        wanted = not self._abandoned.is_set() and self._path.deliver(frame, time_s)
        self._last_packet = self._last_picture = time.monotonic()
        self._busy = False
        return wanted
