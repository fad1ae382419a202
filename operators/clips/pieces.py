"""Recorded video in files, piece after piece: from packets back to pictures at their media times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import av
from av.container import InputContainer

from groundstream.operators.clips.timeline import SAME_S
from groundstream.operators.video.mux import shown_stamps
from groundstream.operators.video.segment import Segment
from groundstream.operators.video.upright import Upright


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
