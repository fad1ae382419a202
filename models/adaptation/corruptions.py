"""What spoils pictures on their way from the scene to the model, with a severity.

Every corruption takes the frames of a clip, (T, H, W, 3) uint8 RGB, their times in seconds and a severity in
0..1, and returns frames of the same shape; a still picture is a clip of one frame. Severity 0 changes
nothing. What lasts (dirt on the lens, the direction of the rain) lasts over the clip; rain and what passes
in front follow the clock. Boxes and visibility of generated clips know nothing of corruptions: they say what
was there.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Times = NDArray[np.float64]
Rng = np.random.Generator


def corrupt(frames: Frames, times_s: Times, kind: str, severity: float, rng: Rng) -> Frames:
    """Return the frames spoiled in the way that `kind` names (a key of `CORRUPTIONS`).

    Raises:
        ValueError: an unknown kind, a severity outside 0..1, or not one time per frame.
    """
    if kind not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {kind!r}; expected one of {sorted(CORRUPTIONS)}")
    if not 0 <= severity <= 1:
        raise ValueError(f"expected a severity in 0..1, but got {severity}")
    if len(times_s) != len(frames):
        raise ValueError(f"expected {len(frames)} times, one per frame, but got {len(times_s)}")
    return CORRUPTIONS[kind](frames, times_s, severity, rng) if severity else frames


def noise(frames: Frames, times_s: Times, severity: float, rng: Rng) -> Frames:
    """Sensor noise that grows in the dark, as at night with high gain."""
    out = np.empty_like(frames)
    for number, frame in enumerate(frames):
        out[number] = add_noise(frame, severity, rng)
    return out


def add_noise(frame: NDArray[np.uint8], severity: float, rng: Rng) -> NDArray[np.uint8]:
    """Noise for one picture, up to 55 grey levels (standard deviation), part of it equal in all channels."""
    height, width = frame.shape[:2]
    # A sheet of normal numbers read at a random place: ten times faster than drawing one per pixel.
    needed = 3 * height * width
    sheet = _normal() if needed < len(_normal()) else np.resize(_normal(), needed + 1)
    start = int(rng.integers(len(sheet) - needed))
    grain = sheet[start : start + needed].reshape(height, width, 3)
    strength = 55 * severity
    gray = np.repeat(grain[::-1, :, :1], 3, axis=2)
    mixed = cv2.addWeighted(grain, 0.6 * strength, gray, 0.8 * strength, 0)
    return np.asarray(cv2.add(frame, mixed, dtype=cv2.CV_8U), np.uint8)


@cache
def _normal() -> NDArray[np.float32]:
    return np.random.default_rng(20240229).standard_normal(8_000_000, dtype=np.float32)


def defocus(frames: Frames, times_s: Times, severity: float, rng: Rng) -> Frames:
    """A lens out of focus: a blur with a standard deviation of up to 1.2 % of the picture's width."""
    sigma = 0.012 * severity * frames.shape[2]
    return np.stack([cv2.GaussianBlur(frame, (0, 0), max(sigma, 0.3)) for frame in frames])


def motion_blur(frames: Frames, times_s: Times, severity: float, rng: Rng) -> Frames:
    """A shaken camera: a straight smear, up to 8 % of the width long, whose direction changes with time."""
    angle, turning = rng.uniform(0, np.pi), rng.normal(0, 2)
    length = max(2, round(0.08 * severity * frames.shape[2]))
    return np.stack(
        [
            cv2.filter2D(frame, -1, _line(length, angle + turning * at), borderType=cv2.BORDER_REPLICATE)
            for frame, at in zip(frames, times_s, strict=True)
        ]
    )


def _line(length: int, angle: float) -> NDArray[np.float32]:
    side = length | 1
    kernel = np.zeros((side, side), np.float32)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    middle = side // 2
    ends = [
        (round(float(middle + sign * reach[0])), round(float(middle + sign * reach[1]))) for sign in (-1, 1)
    ]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return np.asarray(kernel / kernel.sum(), np.float32)


def compression(frames: Frames, times_s: Times, severity: float, rng: Rng) -> Frames:
    """H.264 at a low bit rate, as from a cheap camera: constant quality from crf 28 down to 51."""
    height, width = (frames.shape[1] // 2) * 2, (frames.shape[2] // 2) * 2
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.thread_count = Fraction(25), 1
    crf = str(round(28 + 23 * severity))
    encoder.options = {"crf": crf, "preset": "veryfast", "tune": "zerolatency", "g": "60", "bf": "0"}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoded: list[av.VideoFrame] = []
    for number, frame in enumerate(frames):
        video = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]))
        video.pts = number
        decoded += [picture for packet in encoder.encode(video) for picture in decoder.decode(packet)]
    decoded += [picture for packet in encoder.encode(None) for picture in decoder.decode(packet)]
    decoded += decoder.decode(None)
    out = frames.copy()  # an odd last row or column, which the codec does not take, stays as it was
    out[:, :height, :width] = np.stack([picture.to_ndarray(format="rgb24") for picture in decoded])
    return out


def flicker(frames: Frames, times_s: Times, severity: float, rng: Rng) -> Frames:
    """Exposure that jumps: beats of mains light, sudden dips, and now and then a flash."""
    beat, phase = rng.uniform(0.5, 4), rng.uniform(0, 2 * np.pi)
    stops = severity * (1.2 * np.sin(2 * np.pi * beat * times_s + phase) + rng.normal(0, 0.8, len(frames)))
    flash = rng.random(len(frames)) < 0.08
    stops = np.where(flash, severity * 3.0, stops)
    ramp = np.arange(256)[None] * 2.0 ** stops[:, None]
    tables = np.clip(ramp + 0.5, 0, 255).astype(np.uint8)
    return np.stack([table[frame] for table, frame in zip(tables, frames, strict=True)])


def rain(frames: Frames, times_s: Times, severity: float, rng: Rng) -> Frames:
    """Bright streaks that fall with the clock, and the haze that comes with them."""
    height, width = frames.shape[1:3]
    count = int(severity * 0.0035 * height * width)
    start = rng.uniform(0, 1, (count, 2)) * (width, 2 * height)
    speed, slant = rng.uniform(1.5, 3.0, count) * height, rng.normal(0, 0.2)
    length = 0.03 + 0.05 * severity
    out = np.empty_like(frames)
    for number, (frame, at) in enumerate(zip(frames, times_s, strict=True)):
        y = (start[:, 1] + speed * at) % (2 * height) - height / 2
        x = (start[:, 0] + slant * speed * at) % width
        streaks = np.zeros((height, width), np.uint8)
        step = np.array([slant, 1.0]) * length * height
        ends = np.stack([np.stack([x, y], 1), np.stack([x, y], 1) + step], axis=1)
        cv2.polylines(streaks, list(ends.round().astype(np.int32)), isClosed=False, color=255)
        streaks = np.asarray(cv2.blur(streaks, (2, 3)), np.uint8)
        haze = cv2.addWeighted(frame, 1 - 0.25 * severity, np.full_like(frame, 190), 0.25 * severity, 0)
        out[number] = cv2.addWeighted(haze, 1, cv2.merge([streaks] * 3), 0.25 + 0.35 * severity, 0)
    return out


def dirt(frames: Frames, times_s: Times, severity: float, rng: Rng) -> Frames:
    """Drops and smudges on the lens: blurred spots, darker or lighter, that stay in place."""
    height, width = frames.shape[1:3]
    mask = np.zeros((height, width), np.float32)
    for _ in range(1 + int(14 * severity)):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        axes = tuple(int(side) for side in rng.uniform(0.02, 0.09, 2) * width + 1)
        cv2.ellipse(mask, center, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(0.5, 1)), -1)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.01 * width), np.float32) * np.float32(
        0.4 + 0.6 * severity
    )
    tone = np.broadcast_to(rng.uniform(20, 200, 3).astype(np.uint8), frames.shape[1:])
    out = np.empty_like(frames)
    for number, frame in enumerate(frames):
        far = cv2.resize(frame, (16, 16 * height // width + 1), interpolation=cv2.INTER_AREA)
        blurred = cv2.resize(far, (width, height), interpolation=cv2.INTER_LINEAR)
        spot = cv2.addWeighted(blurred, 0.55, np.ascontiguousarray(tone), 0.45, 0)
        out[number] = cv2.blendLinear(frame, spot, 1 - mask, mask)
    return out


def occluders(frames: Frames, times_s: Times, severity: float, rng: Rng) -> Frames:
    """Bars and blobs in front of the scene (posts, passers-by), some of them moving through the picture."""
    height, width = frames.shape[1:3]
    out = frames.copy()
    for _ in range(1 + round(3 * severity)):
        tall, thick = rng.random() < 0.6, rng.uniform(0.03, 0.06 + 0.14 * severity)
        size = (thick * width, height * 2.0) if tall else (thick * 2 * width, thick * 2 * height)
        start, speed = (
            rng.uniform(0, 1, 2) * (width, height),
            rng.choice([0.0, 1.0]) * rng.normal(0, 0.4, 2) * width,
        )
        color = tuple(int(value) for value in rng.integers(0, 256, 3))
        for frame, at in zip(out, times_s, strict=True):
            middle = (start + speed * at) % (width, height)
            box = (tuple(float(value) for value in middle), size, 0.0)
            if tall:
                cv2.fillPoly(frame, [cv2.boxPoints(box).astype(np.int32)], color)
            else:
                cv2.ellipse(frame, box, color, -1)
    return out


CORRUPTIONS: dict[str, Callable[[Frames, Times, float, Rng], Frames]] = {
    "noise": noise,
    "defocus": defocus,
    "motion_blur": motion_blur,
    "compression": compression,
    "flicker": flicker,
    "rain": rain,
    "dirt": dirt,
    "occluders": occluders,
}
