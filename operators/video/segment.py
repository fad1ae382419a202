"""A piece of recorded video as it came from its source: the unit of the ring, of recordings and of clips.

`Segment` is the value; the functions take packets into one and out again, with time stamps that follow from
the times of their pictures.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import av
from av.bitstream import BitStreamFilterContext

#: Matroska counts in milliseconds.
MILLISECOND = Fraction(1, 1000)
#: Codecs whose parameter sets may travel inside the video.
_IN_BAND = ("h264", "hevc", "mpeg4", "mpeg2video")


@dataclass(frozen=True, eq=False)
class Segment:
    """One closed group of pictures: starts at a key frame, decodes by itself, was never re-encoded.

    Attributes:
        stream_id: the stream that it was cut from.
        epoch: the stream's epoch; segments of different epochs never make one clip.
        start_s: media time in seconds of the first picture shown.
        end_s: media time at which the next segment starts (of the last one: one interval after its last).
        start_wall: seconds since 1970 (UTC) at `start_s`.
        times_s: media times of its pictures in the order in which they are shown; the n-th decoded picture
            was shown at `times_s[n]`. Where groups of pictures are open, the last one is at `end_s`: a copy
            of the next segment's first picture, without which the pictures before it cannot be decoded.
        width: width in pixels as coded, before rotation.
        height: height in pixels as coded.
        codec: libav's name of the codec (`h264`, `hevc`, ...).
        data: a Matroska file with these packets; playable alone. Its stamps are those of `times_s`, in
            milliseconds since `start_s`.
        keyed: False for a piece of a group that grew too large to be kept whole: it does not start at a key
            frame and decodes only after the segments before it.
    """

    stream_id: str
    epoch: int
    start_s: float
    end_s: float
    start_wall: float
    times_s: tuple[float, ...]
    width: int
    height: int
    codec: str
    data: bytes = field(repr=False)
    keyed: bool = True

    @property
    def size_bytes(self) -> int:
        """How many bytes of video it holds."""
        return len(self.data)


@dataclass(frozen=True, eq=False)
class TimedPacket:
    """One packet of a stream, in the order of decoding.

    Attributes:
        packet: the compressed picture, as it was read.
        time_s: media time of the picture that it became; None where it became none.
    """

    packet: av.Packet[av.VideoStream]
    time_s: float | None


def to_matroska(
    stream: av.VideoStream, packets: Sequence[TimedPacket], width: int, height: int, parameters: bytes | None
) -> bytes:
    """Return a Matroska file with `packets`; their stamps count from 0, which is the first picture shown.

    Args:
        stream: where they come from; its container must be open.
        packets: in the order of decoding; their stamps are overwritten.
        width: as coded, in pixels.
        height: as coded, in pixels.
        parameters: the codec's parameter sets as they hold here; None takes those of `stream`.

    Raises:
        av.FFmpegError: they do not fit into Matroska.
    """
    stamp_packets(packets, sorted(p.time_s for p in packets if p.time_s is not None), MILLISECOND)
    file = io.BytesIO()
    # The first decoding stamp is below zero where there are B-frames; nothing must be shifted for it.
    with av.open(file, "w", format="matroska", options={"avoid_negative_ts": "disabled"}) as out:
        target = out.add_stream_from_template(stream, opaque=True)
        target.width, target.height = width, height
        target.time_base = MILLISECOND
        if parameters is not None:
            target.codec_context.extradata = parameters
        for timed in packets:
            timed.packet.stream = target
            out.mux(timed.packet)
    return file.getvalue()


@contextmanager
def segment_packets(segment: Segment) -> Iterator[tuple[av.VideoStream, list[TimedPacket]]]:
    """Lend the packets of a segment in the order of decoding, with the stream that describes them.

    Joining segments: where one ends with a copy of the next one's first picture (`times_s[-1] == end_s`),
    leave out the next one's first packet.
    """
    times_s = dict(zip(shown_stamps(segment.times_s), segment.times_s, strict=True))
    # libav would decode a picture to learn the pixel format, which is all that opening costs. MP4 wants it
    # for some codecs, not for these.
    decodes = segment.codec not in ("h264", "hevc")
    hurry = {} if decodes else {"probesize": "32", "analyzeduration": "0"}
    # The stubs are wrong: libav's options for each stream are dictionaries.
    skip = None if decodes else cast("list[str]", [{"skip_frame": "all"}])
    with av.open(io.BytesIO(segment.data), mode="r", options=hurry, stream_options=skip) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        yield (
            stream,
            [
                TimedPacket(packet, times_s.get(packet.pts if packet.pts is not None else -1))
                for packet in packets
            ],
        )


def parameters_of(stream: av.VideoStream, key_packet: av.Packet[av.VideoStream]) -> bytes | None:
    """Return the parameter sets that come with a key packet; None where those of `stream` hold."""
    if key_packet.has_sidedata("new_extradata"):
        return bytes(key_packet.get_sidedata("new_extradata"))
    known = stream.codec_context.extradata or b""
    if stream.codec_context.codec.canonical_name not in _IN_BAND or (known and not _is_annex_b(known)):
        return None
    search = BitStreamFilterContext("extract_extradata", in_stream=stream)
    # The filter consumes what it is given: it gets a copy.
    for found in search.filter(cast("av.Packet[av.VideoStream]", av.Packet(bytes(key_packet)))):
        if found.has_sidedata("new_extradata"):
            return bytes(found.get_sidedata("new_extradata"))
    return None


def stamp_packets(packets: Sequence[TimedPacket], times_s: Sequence[float], tick: Fraction) -> None:
    """Give `packets` new stamps in ticks since `times_s[0]`.

    A packet without a picture gets a stamp just after the packet before it.
    """
    of_time = dict(zip(times_s, shown_stamps(times_s, tick), strict=True))
    shown: list[int] = []
    for packet in packets:
        after = shown[-1] + 1 if shown else 0
        shown.append(after if packet.time_s is None else of_time[packet.time_s])
    for packet, pts, dts in zip(packets, shown, decoded_stamps(shown), strict=True):
        packet.packet.time_base = tick
        packet.packet.pts, packet.packet.dts, packet.packet.duration = pts, dts, 0


def shown_stamps(times_s: Sequence[float], tick: Fraction = MILLISECOND) -> list[int]:
    """Return the presentation stamps of pictures shown at `times_s`, in ticks since the first; they grow."""
    stamps: list[int] = []
    for time_s in times_s:
        stamp = round((time_s - times_s[0]) / tick)
        stamps.append(max(stamp, stamps[-1] + 1) if stamps else stamp)
    return stamps


def decoded_stamps(shown: Sequence[int]) -> list[int]:
    """Return decoding stamps for packets with the presentation stamps `shown`, in the order of decoding.

    They grow with every packet and are never later than the packet's presentation.
    """
    growing: list[int] = []
    for stamp in sorted(shown):
        growing.append(max(stamp, growing[-1] + 1) if growing else stamp)
    delay = max((early - stamp for early, stamp in zip(growing, shown, strict=True)), default=0)
    return [stamp - delay for stamp in growing]


def _is_annex_b(parameters: bytes) -> bool:
    """Tell whether `parameters` are separated by start codes; the other form counts lengths."""
    return parameters.startswith((b"\0\0\1", b"\0\0\0\1"))
