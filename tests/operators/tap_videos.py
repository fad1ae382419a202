"""Makes the videos that are hard to cut, and reads what a tap on them gives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType
from clip_maker import picture
from segment_reader import read_segment

from groundstream.operators.sources import SourceOptions, open_source
from groundstream.operators.video.segment import Segment
from groundstream.operators.video.tap import MOST_BYTES, PacketTap

Shown = list[tuple[float, str]]

OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3:b-pyramid=none"}
PYRAMID = {"x264-params": "keyint=16:min-keyint=16:scenecut=0:bframes=5:b-pyramid=normal:b-adapt=0"}
GRADUAL_REFRESH = {"x264-params": "intra-refresh=1:keyint=10:min-keyint=10:scenecut=0:bframes=0"}
ONE_KEY_FRAME = {"x264-params": "keyint=infinite:scenecut=0:bframes=0"}
HEVC = {"x265-params": "log-level=none:keyint=12:min-keyint=12:scenecut=0:bframes=3"}


def make_video(
    path: Path,
    *,
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
    frames: int = 40,
    size: tuple[int, int] = (96, 64),
    times_ms: Sequence[int] | None = None,
    gop: int = 12,
    rotation: int = 0,
    noise: bool = False,
) -> Path:
    """Write `frames` pictures, at 15 a second or at `times_ms`."""
    rng = np.random.default_rng(0)
    base = Fraction(1, 15) if times_ms is None else Fraction(1, 1000)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=15)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        context = stream.codec_context
        context.time_base, context.gop_size = base, gop
        context.options = dict(options or {})
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(frames if times_ms is None else len(times_ms)):
            pixels = picture(number, *size)
            if noise:
                pixels = rng.integers(0, 256, pixels.shape, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = number if times_ms is None else times_ms[number], base
            frame.pict_type = PictureType.NONE
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def tapped(
    path: Path, most_bytes: int = MOST_BYTES, **options: object
) -> tuple[Shown, list[Segment], PacketTap]:
    """Return the pictures of a source, the segments that a tap on it cut, and the tap."""
    segments: list[Segment] = []
    tap = PacketTap(segments.append, most_bytes)
    with open_source(str(path), "cam", SourceOptions(**options), tap=tap) as source:  # type: ignore[arg-type]
        shown = [(frame.time_s, fingerprint(frame.picture)) for frame in source]
    return shown, segments, tap


def untapped(path: Path) -> Shown:
    """Return the pictures of a source without a tap."""
    with open_source(str(path), "cam", SourceOptions()) as source:
        return [(frame.time_s, fingerprint(frame.picture)) for frame in source]


def pictures_of(segments: Iterable[Segment]) -> Shown:
    """Return the pictures of segments, each decoded alone."""
    return [(time_s, fingerprint(frame)) for each in segments for time_s, frame in read_segment(each)]


def fingerprint(frame: av.VideoFrame) -> str:
    """Return a short digest of the picture's pixels and its size."""
    pixels = frame.to_ndarray()
    return f"{frame.width}x{frame.height} {hashlib.blake2b(pixels.tobytes(), digest_size=8).hexdigest()}"
