"""How a frame comes about, from top to bottom: the packets of an opened video become frames in a queue.

    demux > decode > time > start, end > sample > pace > turn upright > queue

The first half is pulled (`FramePath.decoded`), because the first frame of a file is decoded when it is
opened; the second half is pushed (`FramePath.deliver`). Where a frame is left out, a comment says why, and a
counter of the source or the next frame's `dropped` says that it was.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Generator
from typing import TypeAlias, cast

import av
from av.container import InputContainer

from groundstream.operators.frames import Frame
from groundstream.operators.sources.base import Source
from groundstream.operators.sources.container import interval_of
from groundstream.operators.sources.options import SourceOptions
from groundstream.operators.video.tap import GopCutter, PacketTap
from groundstream.operators.video.upright import Upright

#: Decoded frames, not yet upright, with their media times in seconds.
TimedFrames: TypeAlias = "Generator[tuple[av.VideoFrame, float], None, None]"
_Packets: TypeAlias = "Generator[av.Packet[av.VideoStream], None, None]"

#: Times of the same moment may differ by rounding.
_ROUNDING_S = 1e-6
#: A step back in time that is longer than this is a new start of the source's clock, not a stray stamp.
_NEW_START_S = 1.0
#: What a frame with a stray stamp is put after its predecessor.
_SMALL_STEP_S = 0.001
#: Matroska rounds times to milliseconds; a tick may be missed by that much.
_TICK_TOLERANCE_S = 0.002
#: A paced source that is later than this does not hurry to catch up.
_LATEST_S = 1.0


def presentation_of(frame: av.VideoFrame) -> float | None:
    """Return the presentation time that `frame` carries, in seconds; None where it has none."""
    # The stub says float, but a frame without a stamp has no time.
    return cast("float | None", frame.time)


def arrival_of(frame: av.VideoFrame) -> float:
    """Return the moment at which `frame` came, in seconds of a clock that never steps back."""
    return time.monotonic()


class FramePath:
    """The path of the frames of one reading: one opened file, one row of images, one connection to a camera.

    A camera that comes back gets a new one: its clock, its samples and its pictures' size start anew.

    Attributes:
        source: whose frames they become.
        epoch: asked for every frame; None means that nobody wants this reading any more.
        pacer: holds frames back until they are due; None hands them on as they come.
        after_s: frames up to this media time in seconds are left out: they were answered before.
    """

    def __init__(
        self,
        source: Source,
        options: SourceOptions,
        epoch: Callable[[], int | None],
        tap: PacketTap | None = None,
        pacer: Pacer | None = None,
    ) -> None:
        """Take whose path it is, what is asked of it, and who gets the compressed video."""
        self.source, self.epoch, self.pacer, self.after_s = source, epoch, pacer, -math.inf
        self._options, self._tap = options, tap
        self._sampler, self._upright = Sampler(options.fps), Upright()
        self._cutter: GopCutter | None = None

    def decoded(
        self,
        container: InputContainer,
        stream: av.VideoStream,
        clock: Clock,
        stamp_of: Callable[[av.VideoFrame], float | None] = presentation_of,
        on_packet: Callable[[], None] | None = None,
    ) -> TimedFrames:
        """Yield every frame of `stream` with its media time in seconds; call `on_packet` for each packet.

        Raises:
            av.FFmpegError: the container cannot be read further.
        """
        counters = self.source.counters
        if self._tap is not None:
            self._cutter = self._tap.cutter(stream, self.source.stream_id, self.epoch, interval_of(stream))
        # A generator of Cython does not clean up after itself when it is merely forgotten.
        with contextlib.closing(cast(_Packets, container.demux(stream))) as packets:
            try:
                # 1. Demux.
                for packet in packets:
                    if on_packet is not None:
                        on_packet()
                    # 2. Decode: a packet gives no frame, one or several.
                    for frame in self._decode(packet):
                        # Parts of it were concealed by the decoder: counted, but shown all the same.
                        counters.frames_damaged += frame.is_corrupt
                        # 3. Time: a stamp that is missing, repeated or steps back is repaired; time grows.
                        repaired = clock.repaired
                        time_s = clock.read(stamp_of(frame))
                        counters.times_repaired += clock.repaired - repaired
                        if self._cutter is not None:
                            self._cutter.picture(frame, time_s)
                        yield frame, time_s
            finally:
                self.end_segment()

    def _decode(self, packet: av.Packet[av.VideoStream]) -> list[av.VideoFrame]:
        if packet.is_corrupt:
            self.source.counters.packets_corrupt += 1
        if self._cutter is not None:
            self._cutter.packet(packet)  # recordings and clips take the compressed video from here
        try:
            return packet.decode()
        except EOFError:  # a decoder that was flushed already
            return []
        except av.FFmpegError:
            # Dropped, and said by the next frame: one broken packet costs its frame, not the stream.
            if not packet.is_corrupt:
                self.source.counters.packets_corrupt += 1
            self.source.queue.lose("corrupt_packet")
            return []

    def in_range(self, frames: TimedFrames) -> TimedFrames:
        """Yield those of `frames` between `start_s` and `end_s`, for what has an end; close them."""
        start_s = self._options.start_s or 0.0
        end_s = math.inf if self._options.end_s is None else self._options.end_s
        with contextlib.closing(frames):
            for frame, time_s in frames:
                # 4. Start and end. Not counted: what is decoded before the start only leads there from a key
                # frame, and the first frame at the end ends the reading.
                if time_s >= end_s - _ROUNDING_S:
                    return
                if time_s >= start_s - _ROUNDING_S:
                    yield frame, time_s

    def deliver(self, frame: av.VideoFrame, time_s: float) -> bool:
        """Take a decoded frame to the queue, or leave it out; False when nobody wants any more."""
        epoch = self.epoch()
        if epoch is None or self.source.closing.is_set():
            return False
        self.source.counters.frames_read += 1
        # 5. Sample by media time, before anything is done with the frame's pixels. What lies between two
        # ticks of `fps` was not asked for: it is counted as skipped, not as dropped.
        if not self._sampler.keeps(time_s):
            self.source.counters.frames_skipped += 1
            return True
        # Answered by the process before this one. Only here, because the sampler's ticks count from the first
        # frame of the reading, which is the last one that was answered.
        if time_s <= self.after_s:
            return True
        # 6. Pace, where video comes faster than it is to be shown: a file played live, a segment of HLS.
        if self.pacer is not None and not self.pacer.wait(time_s):
            return False
        # 7. Turn upright as the rotation metadata asks: after sampling, so that only what is kept costs it.
        picture = self._upright(frame)
        # 8. Queue. Numbered here: what was left out on purpose makes no gap in `seq`. With live semantics the
        # frame that still waits there is dropped (counted as `newer_frame`); with file semantics `put` waits.
        seq, wall_time = next(self.source.numbers), time.time()
        return self.source.queue.put(Frame(self.source.stream_id, epoch, seq, time_s, wall_time, picture))

    def end_segment(self) -> None:
        """Let the tap's last segment end with what was decoded so far; from any thread, more than once."""
        if self._cutter is not None:
            self._cutter.end()


class Clock:
    """Media time of decoded frames in seconds; grows with every frame.

    Missing and repeated stamps, steps back, and (where `longest_gap_s` is given) leaps forward are repaired
    and counted in `repaired`.
    """

    def __init__(
        self, interval_s: float, start_s: float | None = None, longest_gap_s: float = math.inf
    ) -> None:
        """Take the frames' nominal distance and, where known, the stamp that counts as zero."""
        self.repaired = 0
        self._interval_s, self._start_s, self._longest_gap_s = interval_s, start_s, longest_gap_s
        self._last_s: float | None = None

    def read(self, stamp_s: float | None) -> float:
        """Return the media time of the next frame, whose stamp in seconds is `stamp_s`."""
        self._last_s = self._next(stamp_s)
        return self._last_s

    def _next(self, stamp_s: float | None) -> float:
        last_s = self._last_s
        expected_s = 0.0 if last_s is None else last_s + self._interval_s
        if stamp_s is None:
            # RTSP leaves the first frame of a connection without a stamp; zero is right for it.
            self.repaired += last_s is not None
            return expected_s
        if self._start_s is None:
            self._start_s = stamp_s - expected_s
        time_s = stamp_s - self._start_s
        if last_s is None:
            if time_s < 0:  # decoded although it lies before the start that the file declares
                self._start_s, time_s = stamp_s, 0.0
            return time_s
        if last_s < time_s <= last_s + self._longest_gap_s:
            return time_s
        self.repaired += 1
        if last_s - _NEW_START_S <= time_s <= last_s:
            return last_s + _SMALL_STEP_S
        self._start_s = stamp_s - expected_s
        return expected_s


class Sampler:
    """Keeps the first frame and then the first at or after each tick of `fps`; everything when None."""

    def __init__(self, fps: float | None) -> None:
        self._fps = fps
        self._first_s: float | None = None
        self._tick_s = 0.0

    def keeps(self, time_s: float) -> bool:
        """Tell whether the frame at `time_s` is kept; times must grow."""
        if self._fps is None:
            return True
        if self._first_s is None:
            self._first_s = self._tick_s = time_s
        tolerance_s = min(_TICK_TOLERANCE_S, 0.1 / self._fps)
        if time_s < self._tick_s - tolerance_s:
            return False
        ticks = math.floor((time_s - self._first_s + tolerance_s) * self._fps) + 1
        self._tick_s = self._first_s + ticks / self._fps
        return True


class Pacer:
    """Holds frames back until their media time has come in real time."""

    def __init__(self, closing: threading.Event) -> None:
        self._closing = closing
        self._zero: float | None = None

    def wait(self, time_s: float) -> bool:
        """Wait until the frame at `time_s` is due; False when the source closes meanwhile.

        Where frames come later than they are due (a slow disk, a late HLS segment), the pace starts anew
        from there.
        """
        now = time.monotonic()
        if self._zero is None or now - (self._zero + time_s) > _LATEST_S:
            self._zero = now - time_s
        return not self._closing.wait(max(0.0, self._zero + time_s - now))
