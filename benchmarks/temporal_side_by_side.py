"""The clip of docs/temporal-adapter.md: ten spoiled seconds of a street, frame by frame and with memory.

    python benchmarks/temporal_side_by_side.py VIDEO --start 52 --out docs/temporal-adapter.mp4

Both sides are what `groundstream run -q person -q "white van"` draws. What spoils the video, a quarter of the
time each, is decided by the file's name.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

import groundstream as gs
from groundstream.models.adaptation.clips import cut
from groundstream.models.adaptation.spoil import spoil

KINDS = ("motion_blur", "flicker", "defocus", "noise")
PHRASES = ["person", "white van"]
SECONDS = 10.0
SIDE_PX = (640, 480)


def read(path: Path, start_s: float = 0.0, end_s: float = np.inf) -> tuple[NDArray[np.uint8], list[float]]:
    """Return (T, H, W, 3) uint8 RGB frames and their times in seconds."""
    with av.open(str(path)) as container:
        pairs = [(frame.to_ndarray(format="rgb24"), float(frame.time)) for frame in container.decode(video=0)]
    chosen = [(pixels, time_s) for pixels, time_s in pairs if start_s <= time_s < end_s]
    return np.stack([pixels for pixels, _ in chosen]), [time_s for _, time_s in chosen]


def write(path: Path, frames: Iterable[NDArray[np.uint8]], rate: Fraction, crf: int) -> None:
    """Write RGB frames as H.264."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(
            "libx264", rate=rate, options={"crf": str(crf), "preset": "slow", "bf": "0"}
        )
        for number, pixels in enumerate(frames):
            if number == 0:
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def spoiled(path: Path, start_s: float) -> tuple[list[NDArray[np.uint8]], Fraction]:
    """Return the seconds from `start_s` on, spoiled, and their frame rate."""
    frames, times = read(path, start_s, start_s + SECONDS)
    rate = Fraction(round((len(times) - 1) / (times[-1] - times[0]) * 1000), 1000)
    parts: list[NDArray[np.uint8]] = []
    for kind, clip in zip(
        KINDS, cut(path.stem, frames, np.array(times), len(frames) // len(KINDS)), strict=False
    ):
        made = spoil(replace(clip, name=f"{path.stem} {kind}"), kind)
        print(f"{kind}: severity {made.severity:.2f}, {made.hit.mean():.0%} of the frames")
        parts.extend(made.clip.frames)
    return parts, rate


def annotated(video: Path, adapter: str, folder: Path) -> NDArray[np.uint8]:
    """Return what `groundstream run --adapter` draws."""
    for _ in gs.run(video, PHRASES, model={"name": "glip-nano", "adapter": adapter}, out=folder):
        pass
    return read(folder / "annotated.mp4")[0]


def titled(pixels: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    """Return the picture at the size of a side, with a title."""
    picture = cv2.resize(pixels, SIDE_PX, interpolation=cv2.INTER_AREA)
    (width, height), _ = cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, 0.55, 1)
    cv2.rectangle(picture, (0, 0), (width + 16, height + 14), (0, 0, 0), -1)
    cv2.putText(
        picture, title, (8, height + 7), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1, cv2.LINE_AA
    )
    return np.asarray(picture, np.uint8)


def main() -> None:
    """Spoil, run twice, put side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--start", type=float, default=0.0, help="seconds")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames, rate = spoiled(options.video, options.start)
        write(folder / "spoiled.mp4", frames, rate, crf=10)
        sides = [annotated(folder / "spoiled.mp4", adapter, folder / adapter) for adapter in ("none", "cta")]
    quarter = len(frames) // len(KINDS)
    pairs = [
        np.hstack(
            [
                titled(left, f"frame by frame | {KINDS[number // quarter].replace('_', ' ')}"),
                titled(right, "with memory (--adapter cta)"),
            ]
        )
        for number, (left, right) in enumerate(zip(*sides, strict=True))
    ]
    write(options.out, pairs, rate, crf=32)


if __name__ == "__main__":
    main()
