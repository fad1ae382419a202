"""Segments joined in one growing file, packet by packet: what a recording writes, and what finishes it.

MP4, or Matroska where browsers do not play the codec. (The raw clip, `clips/pieces.py`, is cut to a span and
begins at a key frame before it; this file takes whole segments as they come.)
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer, OutputContainer

from groundstream.operators.video.containers import CLOCK, suffix_for
from groundstream.operators.video.segment import Segment, TimedPacket, decoded_stamps, segment_packets

#: So much of what was added is not yet with the operating system.
_FRAGMENT_US = 100_000
#: While it grows the file is fragmented and plays as far as it goes; closing makes an ordinary MP4 of it,
#: with one index, in which players can jump.
_MP4 = {
    "movflags": "hybrid_fragmented+empty_moov+default_base_moof",
    "frag_duration": str(_FRAGMENT_US),
    "flush_packets": "1",
    "avoid_negative_ts": "disabled",
}
_MATROSKA = {"flush_packets": "1", "cluster_time_limit": "100", "avoid_negative_ts": "disabled"}
_CONTIGUOUS_S = 1e-6


@dataclass(frozen=True)
class FileFacts:
    """What a joined file says of itself, in its comment; enough to find it again without an index.

    Attributes:
        stream_id: the stream that it was cut from.
        epoch: the stream's epoch.
        start_s: media time of its first picture in seconds.
        start_wall: seconds since 1970 (UTC) at `start_s`.
    """

    stream_id: str
    epoch: int
    start_s: float
    start_wall: float

    @property
    def comment(self) -> str:
        """The facts as JSON."""
        return json.dumps(vars(self))

    @classmethod
    def read(cls, path: Path) -> FileFacts | None:
        """Return what a joined file, finished or not, says of itself; None where it is none of ours.

        Raises:
            av.FFmpegError: it is no video (yet).
            OSError: it cannot be read.
        """
        with av.open(path, mode="r") as container:
            # Matroska writes names in capitals.
            return cls.parse(container.metadata.get("comment") or container.metadata.get("COMMENT", ""))

    @classmethod
    def parse(cls, comment: str) -> FileFacts | None:
        """Return the facts of a comment; None where it is none of ours."""
        try:
            facts = json.loads(comment)
            return cls(
                str(facts["stream_id"]),
                int(facts["epoch"]),
                float(facts["start_s"]),
                float(facts["start_wall"]),
            )
        except (ValueError, KeyError, TypeError):
            return None


class JoinedFile:
    """A file of segments that follow each other; its time starts at 0 with the first picture.

    Args:
        file: where it goes: unbuffered, seekable, opened for writing; closed by its owner.
        first: the segment that it will begin with.

    Raises:
        av.FFmpegError: the codec fits into no file.
        OSError: it cannot be written.
    """

    def __init__(self, file: BinaryIO, first: Segment) -> None:
        self._file, self._first = file, first
        self._parameters: bytes | None = None
        self._out = _opened(file, mp4=suffix_for(first.codec) == ".mp4")
        facts = FileFacts(first.stream_id, first.epoch, first.start_s, first.start_wall)
        self._out.metadata["comment"] = facts.comment
        self._target: av.VideoStream | None = None
        self._end_s, self._holds_next_key, self._last_dts = first.start_s, False, -(2**62)

    @property
    def end_s(self) -> float:
        """Media time at which it ends so far, in seconds."""
        return self._end_s

    def add(self, segment: Segment) -> bool:
        """Append `segment`, all but its last few pictures are with the operating system then.

        False, and nothing is written, where it cannot follow: another video, or a gap before it.

        Raises:
            OSError: there is no room, or the disk fails.
            av.FFmpegError: the packets do not fit.
        """
        if not self._continues_with(segment):
            return False
        with segment_packets(segment) as (stream, packets):
            if self._target is None:
                self._target = self._out.add_stream_from_template(stream, opaque=True)
                self._target.time_base = CLOCK
                self._parameters = stream.codec_context.extradata
            elif segment.keyed and stream.codec_context.extradata != self._parameters:
                return False
            self._mux(packets[1:] if self._holds_next_key else packets, segment)
        self._end_s, self._holds_next_key = segment.end_s, segment.times_s[-1] >= segment.end_s
        return True

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: there is no room for its index; it plays nevertheless.
        """
        self._out.close()

    def _continues_with(self, segment: Segment) -> bool:
        first = self._first
        alike = (segment.epoch, segment.codec, segment.width, segment.height) == (
            first.epoch,
            first.codec,
            first.width,
            first.height,
        )
        return alike and abs(segment.start_s - self._end_s) < _CONTIGUOUS_S

    def _mux(self, packets: list[TimedPacket], segment: Segment) -> None:
        assert self._target is not None
        shown = list(_stamps(packets, self._first.start_s))
        end = round((segment.end_s - self._first.start_s) / CLOCK)
        for timed, pts, dts in zip(packets, shown, decoded_stamps(shown), strict=True):
            self._last_dts = max(self._last_dts + 1, dts)
            packet = timed.packet
            packet.time_base = CLOCK
            packet.pts, packet.dts = max(pts, self._last_dts), self._last_dts
            # libav takes the end of the video from the packets of the last fragment alone, and players leave
            # out what is shown later; of packets that others follow only the distance counts.
            packet.duration = max(1, end - packet.pts)
            packet.stream = self._target
            self._out.mux(packet)


def copy_joined(path: Path, file: BinaryIO | None) -> float:
    """Copy what is whole of a joined file that was not finished; return its length in seconds, 0 for nothing.

    Args:
        path: the unfinished file.
        file: where it goes; with None it is only measured.

    Raises:
        av.FFmpegError: it is no video.
        OSError: it cannot be read, or there is no room for the copy.
    """
    with av.open(path, mode="r") as source:
        shown = sorted(packet.pts or 0 for packet in _whole_packets(source, source.streams.video[0]))
    if not shown:
        return 0.0
    end = shown[-1] + (shown[-1] - shown[-2] if len(shown) > 1 else 1)
    with av.open(path, mode="r") as source:
        stream = source.streams.video[0]
        if file is not None:
            with _opened(file, mp4=".mp4" in path.suffixes) as out:
                out.metadata.update(source.metadata)
                target = out.add_stream_from_template(stream, opaque=True)
                for packet in _whole_packets(source, stream):
                    packet.duration = max(1, end - (packet.pts or 0))
                    packet.stream = target
                    out.mux(packet)
        return float(end * (stream.time_base or CLOCK))


def _whole_packets(container: InputContainer, stream: av.VideoStream) -> Iterator[av.Packet[av.VideoStream]]:
    """Yield packets up to where the file was cut off, with stamps that count from the first."""
    zero: int | None = None
    with contextlib.suppress(av.FFmpegError):
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None and not packet.is_corrupt:
                # Where decoding begins before the first picture is shown, fragments count from there.
                zero = packet.pts if zero is None else zero
                packet.pts -= zero
                packet.dts = None if packet.dts is None else packet.dts - zero
                yield packet


def _opened(file: BinaryIO, *, mp4: bool) -> OutputContainer:
    return av.open(file, "w", format="mp4" if mp4 else "matroska", options=_MP4 if mp4 else _MATROSKA)


def _stamps(packets: list[TimedPacket], start_s: float) -> Iterator[int]:
    """Return presentation stamps in ticks; a packet without a picture follows the one before it."""
    last = 0
    for packet in packets:
        last = last + 1 if packet.time_s is None else round((packet.time_s - start_s) / CLOCK)
        yield last
