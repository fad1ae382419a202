"""Video of known content: every picture carries its number, and an object moves as foretold."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS = 320, 192, 15
BITS, BLOCK_PX = 12, 12
GROUND, OBJECT = 20, 60  # grey levels
SPEED_PX = (17.0, 5.0)  # a second
ROUND_S = 10.0  # then another object starts where the first one did
#: `times_ms` of frames whose distances change all the time.
UNEVEN_MS = tuple(np.cumsum([0, *([20, 90, 40, 210, 33, 33, 67] * 50)]).tolist())


def truth(time_s: float, *, size: tuple[int, int] = (WIDTH, HEIGHT)) -> tuple[float, float, float, float]:
    """Return the object's box at `time_s` in parts of the picture; it moves in a straight line."""
    part_s = time_s % ROUND_S
    left, top = 20 + SPEED_PX[0] * part_s, 60 + SPEED_PX[1] * part_s
    return (left / size[0], top / size[1], (left + 60) / size[0], (top + 40) / size[1])


def pixels(number: int, time_s: float, *, counted: int | None = None) -> NDArray[np.uint8]:
    """Return picture `number` as RGB; the blocks above say `counted`, its number where None."""
    picture = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)
    left, top, right, bottom = np.round(np.array(truth(time_s)) * ([WIDTH, HEIGHT] * 2)).astype(int)
    picture[top:bottom, left:right] = OBJECT
    value = number if counted is None else counted
    for bit in range(BITS):
        x = 4 + bit * 2 * BLOCK_PX
        picture[4 : 4 + BLOCK_PX, x : x + BLOCK_PX] = 235 if value >> bit & 1 else GROUND
    return picture


def read_number(luma: NDArray[np.uint8]) -> int:
    """Return the number of a picture, (H, W) grey."""
    middle = 4 + BLOCK_PX // 2
    levels = [
        luma[middle - 2 : middle + 2, x - 2 : x + 2].mean()
        for x in (4 + bit * 2 * BLOCK_PX + BLOCK_PX // 2 for bit in range(BITS))
    ]
    return sum((level > 128) << bit for bit, level in enumerate(levels))


def numbers(path: Path) -> list[int]:
    """Return the numbers of all pictures of a video, in the order in which they are shown."""
    with av.open(str(path)) as container:
        return [read_number(f.reformat(format="gray").to_ndarray()) for f in container.decode(video=0)]


def make_counter(
    path: Path,
    *,
    seconds: float = 20.0,
    gop: int = 30,
    b_frames: int = 0,
    codec: str = "libx264",
    times_ms: Sequence[int] | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    size: tuple[int, int] | None = None,
) -> list[float]:
    """Write the video to `path` and return the times of its pictures in seconds."""
    base = Fraction(1, 1000) if times_ms is not None else Fraction(1, FPS)
    stamps = list(range(round(seconds * FPS))) if times_ms is None else list(times_ms)
    extra = {"preset": "ultrafast", "sc_threshold": "0"} if codec == "libx264" else {}
    if codec == "libx265":
        extra = {"preset": "ultrafast", "x265-params": "log-level=none"}
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=FPS, options=extra | (options or {}))
        stream.width, stream.height = size or (WIDTH, HEIGHT)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        context = stream.codec_context
        context.gop_size, context.max_b_frames, context.time_base = gop, b_frames, base
        if rotation:
            stream.set_display_rotation(rotation)
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(pixels(number, float(stamp * base)), "rgb24")
            if size:
                frame = frame.reformat(width=size[0], height=size[1])
            frame.pts, frame.time_base = stamp, base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return [float(stamp * base) for stamp in stamps]
