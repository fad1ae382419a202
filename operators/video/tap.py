"""Cuts what a source reads into closed groups of pictures, and holds the last ones.

`PacketTap` and `GopCutter` make segments while the source decodes, without a second decode; `Ring` keeps
those before an event, bounded in time and bytes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import av
from av.video.frame import PictureType

from groundstream.operators.video.segment import Segment, TimedPacket, parameters_of, to_matroska

#: A group of pictures that grows beyond this is cut without a key frame.
MOST_BYTES = 64 * 2**20
#: Streams of these codecs are not compressed; there is nothing to keep.
_NOT_COMPRESSED = ("rawvideo", "wrapped_avframe", "v210", "bitpacked")


class PacketTap:
    """Where a source's segments go; one tap belongs to one source.

    Attributes:
        absent: why this source has no segments, as a sentence for its user; None while it has.
    """

    def __init__(self, on_segment: Callable[[Segment], None], most_bytes: int = MOST_BYTES) -> None:
        """Take the listener, called from the source's thread, and the largest size of a segment in bytes."""
        self.absent: str | None = None
        self.on_segment, self.most_bytes = on_segment, most_bytes

    def cutter(
        self, stream: av.VideoStream, stream_id: str, epoch: Callable[[], int | None], interval_s: float
    ) -> GopCutter | None:
        """Return a cutter for a video that is about to be decoded; None where it is not compressed.

        Args:
            stream: the video.
            stream_id: name of the stream in segments and logs.
            epoch: asked at each cut; None means that nobody wants this reading any more.
            interval_s: nominal distance of its pictures.
        """
        codec = stream.codec_context.codec.canonical_name
        self.absent = None if codec not in _NOT_COMPRESSED else f"{codec} video is not compressed"
        return None if self.absent else GopCutter(self, stream, stream_id, epoch, interval_s)


class GopCutter:
    """Cuts the packets of one opened video into segments, by the pictures that they become.

    A cut lies before each key frame. It is made when the picture of that key frame comes out of the
    decoder: all that is shown before it has come out by then. Where pictures that follow the key frame in
    the order of decoding are shown before it (an open group), they belong to the segment before; it ends
    with them and with a copy of the key frame, which they refer to. So every segment decodes by itself, and
    none misses a picture.

    Pictures are matched with packets by a mark that the decoder hands through; time stamps, which may be
    missing or wrong, have no part in it.
    """

    def __init__(
        self,
        tap: PacketTap,
        stream: av.VideoStream,
        stream_id: str,
        epoch: Callable[[], int | None],
        interval_s: float,
    ) -> None:
        """Take what `PacketTap.cutter` has."""
        self._tap, self._stream, self._stream_id = tap, stream, stream_id
        self._epoch, self._interval_s = epoch, interval_s
        self._codec = stream.codec_context.codec.canonical_name
        self._log = logging.getLogger(f"groundstream.stream.{stream_id}")
        self._lock = threading.Lock()
        self._packets: list[tuple[av.Packet[av.VideoStream], _Mark]] = []
        self._next_number, self._bytes, self._last_s = 0, 0, 0.0
        self._started = self._ended = self._keyed = False
        self._size = (0, 0)
        self._said_growing = False
        # Must be set before the decoder opens, which it does with its first packet.
        stream.codec_context.copy_opaque = True

    def packet(self, packet: av.Packet[av.VideoStream]) -> None:
        """Take a packet that is about to be decoded."""
        if packet.size == 0 or self._ended:
            return
        mark = _Mark(self._next_number, packet.is_keyframe)
        packet.opaque = mark
        with self._lock:
            self._next_number += 1
            self._packets.append((packet, mark))
            self._bytes += packet.size
            if self._bytes > 2 * self._tap.most_bytes:
                self._give_up()

    def picture(self, frame: av.VideoFrame, time_s: float) -> None:
        """Take a decoded picture, as it came from the decoder, with its media time in seconds."""
        mark = frame.opaque
        if not isinstance(mark, _Mark) or mark.time_s is not None:
            return
        with self._lock:
            if not self._packets or mark.number < self._packets[0][1].number or self._ended:
                return
            mark.time_s, mark.wall, self._last_s = time_s, time.time(), time_s
            if self._cuts_at(mark, frame):
                self._cut(mark, frame)

    def end(self) -> None:
        """Cut what is left; from any thread, as often as wanted."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            while self._packets and self._packets[-1][1].time_s is None:
                self._packets.pop()
            if self._started and self._packets:
                self._emit(self._packets, self._last_s + self._interval_s)
            self._packets = []

    def _cuts_at(self, mark: _Mark, frame: av.VideoFrame) -> bool:
        if _is_key(mark, frame):
            return True
        too_large = self._started and self._bytes > self._tap.most_bytes
        return too_large and frame.pict_type == PictureType.P

    def _cut(self, mark: _Mark, frame: av.VideoFrame) -> None:
        """Let a segment end and the next one begin at the packet of `mark`."""
        index = mark.number - self._packets[0][1].number
        leading = [item for item in self._packets[index + 1 :] if item[1].time_s is not None]
        if self._started:
            tail = [self._packets[index], *leading] if leading else []
            self._emit(self._packets[:index] + tail, self._last_s)
        for _, early in leading:
            early.leading = True
        self._keyed, self._started = _is_key(mark, frame), True
        self._size = (frame.width, frame.height)
        self._packets = self._packets[index:]
        self._bytes = sum(packet.size for packet, _ in self._packets)
        if not self._keyed:
            self._say_growing()

    def _emit(self, packets: list[tuple[av.Packet[av.VideoStream], _Mark]], end_s: float) -> None:
        epoch = self._epoch()
        if epoch is None:
            return
        timed = [TimedPacket(packet, mark.time_s) for packet, mark in packets if not mark.leading]
        times_s = sorted(each.time_s for each in timed if each.time_s is not None)
        width, height = self._size
        try:
            parameters = parameters_of(self._stream, timed[0].packet) if self._keyed else None
            data = to_matroska(self._stream, timed, width, height, parameters)
        except (av.FFmpegError, ValueError) as error:
            self._say_absent(f"its {self._codec} video cannot be kept: {error}")
            return
        segment = Segment(
            stream_id=self._stream_id,
            epoch=epoch,
            start_s=times_s[0],
            end_s=end_s,
            start_wall=packets[0][1].wall,
            times_s=tuple(times_s),
            width=width,
            height=height,
            codec=self._codec,
            data=data,
            keyed=self._keyed,
        )
        try:
            self._tap.on_segment(segment)
        except Exception:  # a listener's fault must not stop the camera
            self._log.exception("the listener to the segments of this stream failed")

    def _give_up(self) -> None:
        """Forget packets that become no pictures; wait for the next key frame."""
        self._packets, self._bytes, self._started = [], 0, False

    def _say_growing(self) -> None:
        if not self._said_growing:
            self._said_growing = True
            self._log.warning(
                "%d MB of video without a key frame: recordings go on in one file, what lies further back "
                "is in no clip; let the camera send a key frame every few seconds",
                self._tap.most_bytes // 2**20,
            )

    def _say_absent(self, reason: str) -> None:
        if self._tap.absent is None:
            self._tap.absent = reason
            self._log.warning("no recordings and no clips: %s", reason)


class Ring:
    """Keeps the segments of one stream for pre-roll; safe from several threads.

    A segment stays until the consumer of the stream's frames (which calls `keep_from`) is `seconds` beyond
    its end; a file's consumer may lie far behind the reader. Bytes are the hard limit: the oldest go, and are
    counted. Segments that do not decode alone (`keyed` is False) are not kept.

    Args:
        seconds: how far before the consumer's frame the ring reaches, at least.
        most_bytes: size of all segments that may not be passed.
    """

    def __init__(self, seconds: float, most_bytes: int) -> None:
        if seconds < 0 or most_bytes < 1:
            raise ValueError(
                f"expected seconds >= 0 and most_bytes >= 1, but got {seconds} s and {most_bytes} bytes"
            )
        self._seconds, self._most_bytes = seconds, most_bytes
        self._segments: deque[Segment] = deque()
        self._bytes = self._dropped = self._dropped_bytes = 0
        self._consumer: tuple[int, float] | None = None
        self._lock = threading.Lock()

    def add(self, segment: Segment) -> None:
        """Append a segment; one that does not decode alone is only counted."""
        with self._lock:
            if not segment.keyed:
                self._count_dropped(segment)
                return
            self._segments.append(segment)
            self._bytes += segment.size_bytes
            while self._bytes > self._most_bytes:
                self._count_dropped(self._pop())
            self._trim()

    def cut(self, start_s: float, end_s: float, epoch: int) -> list[Segment]:
        """Return the segments with pictures in [start_s, end_s) of `epoch`, in order.

        The first one begins at the key frame from which `start_s` can be decoded, as far as the ring reaches.
        """
        with self._lock:
            return [s for s in self._segments if s.epoch == epoch and s.end_s > start_s and s.start_s < end_s]

    def keep_from(self, time_s: float, epoch: int) -> None:
        """Note that the consumer has come to `time_s` of `epoch`; what lies `seconds` before it may go."""
        with self._lock:
            self._consumer = (epoch, time_s)
            self._trim()

    @property
    def counters(self) -> RingCounters:
        """A snapshot of the counters."""
        with self._lock:
            return RingCounters(len(self._segments), self._bytes, self._dropped, self._dropped_bytes)

    def _trim(self) -> None:
        if not self._segments:
            return
        newest = self._segments[-1]
        epoch, time_s = self._consumer or (newest.epoch, newest.end_s)
        while self._segments:
            oldest = self._segments[0]
            needed = oldest.epoch > epoch or (oldest.epoch == epoch and oldest.end_s > time_s - self._seconds)
            if needed:
                return
            self._pop()

    def _pop(self) -> Segment:
        oldest = self._segments.popleft()
        self._bytes -= oldest.size_bytes
        return oldest

    def _count_dropped(self, segment: Segment) -> None:
        self._dropped += 1
        self._dropped_bytes += segment.size_bytes


@dataclass(frozen=True)
class RingCounters:
    """What a ring holds and what it could not hold.

    Attributes:
        segments: how many it holds now.
        bytes: their size.
        dropped: segments given up before their time: the ring was full, or they do not decode alone.
        dropped_bytes: their size.
    """

    segments: int
    bytes: int
    dropped: int
    dropped_bytes: int


@dataclass(slots=True, eq=False)
class _Mark:
    """Travels through the decoder with a packet and comes out with its picture."""

    number: int
    key: bool
    time_s: float | None = None
    wall: float = 0.0
    leading: bool = False


def _is_key(mark: _Mark, frame: av.VideoFrame) -> bool:
    """Tell whether decoding can begin with `frame`.

    In a gradual refresh the flags say "key" of pictures from which nothing can be decoded alone.
    """
    return (mark.key or frame.key_frame) and frame.pict_type in (PictureType.I, PictureType.NONE)
