"""Makes real clips with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray


def picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """Return RGB with a white bar at `number` and a red top left corner, on a grey that depends on it."""
    pixels = np.full((height, width, 3), 40 + number % 100, np.uint8)
    left = number * 3 % (width - 8)
    pixels[:, left : left + 8] = 255
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    return pixels


def make_clip(
    path: Path,
    *,
    width: int = 96,
    height: int = 64,
    frames: int = 45,
    fps: int | Fraction = 15,
    codec: str = "libx264",
    gop: int = 15,
    b_frames: int = 0,
    rotation: int = 0,
    times_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    noise: bool = False,
) -> Path:
    """Write a clip: `times_ms` are the presentation times (else even at `fps`)."""
    base = Fraction(1, 1000) if times_ms is not None else 1 / Fraction(fps)
    noisy = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as out:
        stream = out.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.gop_size, context.max_b_frames, context.time_base = gop, b_frames, base
        if codec == "libx264":
            context.options = {"sc_threshold": "0"}  # key frames where `gop` says, nowhere else
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(frames if times_ms is None else len(times_ms)):
            pixels = picture(number, width, height)
            if noise:
                pixels = noisy.integers(0, 256, pixels.shape, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts = number if times_ms is None else times_ms[number]
            frame.time_base = base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def make_sound(path: Path) -> Path:
    """Write one second of silence."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def make_image(path: Path, width: int = 40, height: int = 24) -> Path:
    """Write one image in the format of its name."""
    from PIL import Image

    Image.fromarray(picture(0, width, height)).save(path)
    return path


class ClipMaker(Protocol):
    """Makes a clip in the test's folder; options as `make_clip` has them."""

    def __call__(self, name: str = "clip.mp4", **options: object) -> Path: ...
