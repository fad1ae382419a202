"""Recorded video in files, piece after piece: back to pictures at their media times, or on into the raw clip.

`read_piece` decodes (for the annotated clip), `write_raw` copies packets: those of a span, from the key
frame before it, into one file, not encoded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import av
from av.container import InputContainer

from groundstream.operators.clips.timeline import SAME_S
from groundstream.operators.video.containers import CLOCK, suffix_for
from groundstream.operators.video.segment import Segment, decoded_stamps, shown_stamps
from groundstream.operators.video.upright import Upright
from groundstream.operators.video.writer import FRAGMENTED

# Decoding stamps are below zero where there are B-frames; the pictures' own start at zero all the same.
_MP4 = FRAGMENTED | {"movflags": f"{FRAGMENTED['movflags']}+delay_moov", "avoid_negative_ts": "disabled"}
_MATROSKA = {"avoid_negative_ts": "disabled"}


@dataclass(frozen=True)
class Piece:
    """A file of recorded video that starts at a key frame.

    Attributes:
        path: the file, of any container that libav reads.
        epoch: of the stream; pieces of different epochs never make one clip.
        start_s: media time in seconds of its first picture.
        end_s: media time at which the next piece starts.
        start_wall: seconds since 1970 (UTC) at `start_s`.
        times_s: media times of its pictures, in the order in which they are shown; empty where the file's own
            stamps, counted from its first picture, have the right distances.
    """

    path: Path
    epoch: int
    start_s: float
    end_s: float
    start_wall: float
    times_s: tuple[float, ...] = ()


def store(segment: Segment, path: Path) -> Piece:
    """Write `segment` to `path` and return it as a piece.

    Raises:
        OSError: it cannot be written; a file that is half written is gone again.
    """
    part = path.with_suffix(".part")
    try:
        part.write_bytes(segment.data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return Piece(path, segment.epoch, segment.start_s, segment.end_s, segment.start_wall, segment.times_s)


class Stamps:
    """From the time stamps of a piece's file to media times, in seconds."""

    def __init__(self, piece: Piece, tick: Fraction, first: int) -> None:
        """Take the piece, the unit of its file's stamps in seconds, and the stamp of its first picture."""
        self._piece, self._tick, self._first = piece, tick, first
        listed = zip(shown_stamps(piece.times_s, tick), piece.times_s, strict=True)
        self._times = {first + stamp: time_s for stamp, time_s in listed}

    def media_s(self, stamp: int) -> float | None:
        """Return the media time at this stamp; None where that is no picture's."""
        return self._times.get(stamp) if self._times else self.about_s(stamp)

    def about_s(self, stamp: int) -> float:
        """Return the media time at this stamp to within a tick, also of packets without a picture."""
        return self._piece.start_s + float((stamp - self._first) * self._tick)


def open_piece(piece: Piece) -> tuple[InputContainer, av.VideoStream, Stamps]:
    """Open a piece for reading: its container, its video and its clock; the caller closes the container.

    Raises:
        OSError, av.FFmpegError: it cannot be read, or holds no video.
    """
    first = 0 if piece.times_s else _first_stamp(piece)
    container = av.open(str(piece.path))
    video = _video_of(container, piece.path)
    video.codec_context.thread_count = 1  # a clip has time; the live streams have not
    return container, video, Stamps(piece, Fraction(video.time_base or 1), first)


def read_piece(piece: Piece) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield the upright pictures of a piece with their media times; packets that do not decode are skipped.

    Raises:
        OSError, av.FFmpegError: the file cannot be read.
    """
    container, video, stamps = open_piece(piece)
    upright = Upright()
    with container:
        for packet in container.demux(video):
            for frame in _decoded(packet):
                time_s = None if frame.pts is None else stamps.media_s(frame.pts)
                if time_s is not None:
                    yield time_s, upright(frame)


def in_order(pieces: Iterable[Piece]) -> list[Piece]:
    """Return pieces by time, each once.

    Raises:
        ValueError: they are of several epochs, whose media clocks have nothing to do with each other.
    """
    unique = {round(piece.start_s / SAME_S): piece for piece in pieces}
    ordered = [unique[key] for key in sorted(unique)]
    epochs = {piece.epoch for piece in ordered}
    if len(epochs) > 1:
        raise ValueError(f"expected pieces of one epoch, got those of {sorted(epochs)}; cut a clip for each")
    return ordered


def runs_of(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Cut a sequence of pieces where codec, size or the codec's parameters change: a file holds one of each.

    Raises:
        OSError, av.FFmpegError: a piece cannot be read.
    """
    return [list(run) for _, run in groupby(pieces, key=_format_of)]


@dataclass(frozen=True)
class RawVideo:
    """A raw clip.

    Attributes:
        path: the file.
        start_s: media time of its first picture, the key frame at or before the clip's start.
        end_s: media time of its last picture.
    """

    path: Path
    start_s: float
    end_s: float


def raw_suffix(pieces: Sequence[Piece]) -> str:
    """Return the ending of the raw clip's name: `.raw.mp4`; `.raw.mkv` where no browser would play that."""
    container, video, _ = open_piece(pieces[0])
    with container:
        return f".raw{suffix_for(video.codec_context.codec.canonical_name)}"


def write_raw(pieces: Sequence[Piece], start_s: float, end_s: float, path: Path) -> RawVideo:
    """Write the packets of `pieces` that `[start_s, end_s]` (media time in seconds) needs to `path`.

    The file starts with the last key frame at or before `start_s` and ends with the last picture at or before
    `end_s`, and with those that it refers to. Its clock starts at 0, distances are those of the media times.

    Args:
        pieces: of one codec and size, in order.
        start_s: of the clip.
        end_s: of the clip.
        path: ends with `.mp4` or `.mkv`.

    Raises:
        OSError, av.FFmpegError: a piece cannot be read or the file cannot be written.
        ValueError: no picture lies in the range.
    """
    cut = _PacketRange.of(pieces, start_s, end_s)
    container, template, _ = open_piece(pieces[0])
    options = _MP4 if path.suffix == ".mp4" else _MATROSKA
    with container, av.open(str(path), "w", options=dict(options)) as out:
        # Opaque: nothing is encoded, and for some codecs (AV1) there is no encoder of the decoder's name.
        stream = out.add_stream_from_template(template, opaque=True)
        stream.time_base = CLOCK
        for number, (packet, time_s) in enumerate(_packets(pieces)):
            if cut.first <= number <= cut.last:
                _stamp(packet, cut, number, time_s)
                packet.stream = stream
                out.mux_one(packet)
    return RawVideo(path, cut.zero_s, cut.end_s)


def _format_of(piece: Piece) -> tuple[str, int, int, bytes | None]:
    with av.open(str(piece.path)) as container:
        context = _video_of(container, piece.path).codec_context
        return context.name, context.width, context.height, context.extradata


def _video_of(container: InputContainer, path: Path) -> av.VideoStream:
    if not container.streams.video:
        raise av.InvalidDataError(0, f"no video in {path.name}")
    return container.streams.video[0]


def _decoded(packet: av.Packet[av.VideoStream]) -> list[av.VideoFrame]:
    try:
        return packet.decode()
    except (EOFError, av.FFmpegError):
        return []


def _first_stamp(piece: Piece) -> int:
    """Return the earliest stamp of the file; with B-frames that need not be the first packet's."""
    with av.open(str(piece.path)) as container:
        video = _video_of(container, piece.path)
        return min((packet.pts for packet in container.demux(video) if packet.pts is not None), default=0)


@dataclass(frozen=True)
class _PacketRange:
    """Which packets make the clip, counted in the order of decoding, and their decoding stamps.

    Attributes:
        first: number of the first packet.
        last: number of the last one.
        zero_s: media time of the first picture shown.
        end_s: media time of the last one.
        decode: decoding stamp of each, in `CLOCK`s.
    """

    first: int
    last: int
    zero_s: float
    end_s: float
    decode: tuple[int, ...]

    @classmethod
    def of(cls, pieces: Sequence[Piece], start_s: float, end_s: float) -> _PacketRange:
        rows = [(packet.is_keyframe, time_s) for packet, time_s in _packets(pieces)]
        wanted = [n for n, (_, time_s) in enumerate(rows) if start_s - SAME_S <= time_s <= end_s + SAME_S]
        if not wanted:
            raise ValueError(f"expected pictures between {start_s} and {end_s} s, but there are none")
        keys = [n for n, (key, time_s) in enumerate(rows) if key and time_s <= start_s + SAME_S]
        first = keys[-1] if keys else 0
        last = _with_all_before([time_s for _, time_s in rows], max(wanted))
        times = [time_s for _, time_s in rows[first : last + 1]]
        zero_s = min(times)
        shown = [_ticks(time_s - zero_s) for time_s in times]
        return cls(first, last, zero_s, max(times), tuple(decoded_stamps(shown)))


def _with_all_before(times_s: Sequence[float], last: int) -> int:
    """Return the last packet to keep so that no picture is missing before the last one that is shown.

    Pictures that `last` refers to may be shown after it, and others between the two come later.
    """
    while (further := max(n for n, t in enumerate(times_s) if t <= max(times_s[: last + 1]))) > last:
        last = further
    return last


def _stamp(packet: av.Packet[av.VideoStream], cut: _PacketRange, number: int, time_s: float) -> None:
    packet.time_base = CLOCK
    packet.pts, packet.dts = _ticks(time_s - cut.zero_s), cut.decode[number - cut.first]
    # The last one is shown as long as the one before it.
    at = min(number - cut.first, len(cut.decode) - 2)
    packet.duration = cut.decode[at + 1] - cut.decode[at] if at >= 0 else 0


def _packets(pieces: Sequence[Piece]) -> Iterator[tuple[av.Packet[av.VideoStream], float]]:
    """Yield all packets with their media times, in the order of decoding, and none twice.

    A piece of an open group of pictures ends with a copy of the key frame that the next one starts with.
    """
    seen = set[int]()
    for piece in pieces:
        container, video, stamps = open_piece(piece)
        with container:
            for packet in container.demux(video):
                if packet.pts is None:  # the end of the file
                    continue
                shown_s = stamps.media_s(packet.pts)
                time_s = stamps.about_s(packet.pts) if shown_s is None else shown_s
                if _ticks(time_s) not in seen:
                    seen.add(_ticks(time_s))
                    yield packet, time_s


def _ticks(seconds: float) -> int:
    return round(Fraction(seconds) / CLOCK)
