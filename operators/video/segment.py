"""A piece of recorded video as it came from its source: the unit of the ring, of recordings and of clips."""

from __future__ import annotations

from dataclasses import dataclass, field


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
