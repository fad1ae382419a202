"""Spoiled versions of a clip: which corruption, how strong, and when.

Some corruptions last (night noise, a cheap camera's bit rate, rain, dirt), some come and go: then they are
seen in spells, and between the spells the frames are clean. Packets that are lost and cameras that stutter
are here because they need more than the picture: the codec's state, and the clock.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

from groundstream.models.adaptation.clips import Clip
from groundstream.models.adaptation.corruptions import corrupt

Rng = np.random.Generator
Frames = NDArray[np.uint8]
When = Literal["always", "spells", "either"]


@dataclass(frozen=True)
class Kind:
    """One way of spoiling.

    Attributes:
        when: whether it lasts, comes in spells, or either by chance.
        severity: range; such that the frozen model loses something by it but not everything.
        training: whether training may see it.
        times: how often `corrupt` is applied, for what is mild at its strongest.
    """

    when: When
    severity: tuple[float, float]
    training: bool = True
    times: int = 1


KINDS: dict[str, Kind] = {
    "noise": Kind("either", (0.5, 1.0)),
    "motion_blur": Kind("spells", (0.2, 0.5)),
    "compression": Kind("either", (0.7, 1.0)),
    "flicker": Kind("always", (0.5, 1.0), times=3),
    "occluders": Kind("always", (0.4, 1.0)),
    "stutter": Kind("always", (0.5, 1.0)),
    "defocus": Kind("spells", (0.4, 0.9), training=False),
    "rain": Kind("either", (0.6, 1.0), training=False, times=2),
    "dirt": Kind("always", (0.6, 1.0), training=False, times=3),
    "packet_loss": Kind("always", (0.5, 1.0), training=False),
}


@dataclass(frozen=True, eq=False)
class Spoiled:
    """A spoiled clip.

    Attributes:
        clip: the frames as the model gets them; times and truth are those of what can be seen.
        kind: a key of `KINDS`.
        severity: 0..1.
        hit: (T,) bool, which frames are spoiled.
        source: (T,) int64, the frame of the clean clip that each shows.
    """

    clip: Clip
    kind: str
    severity: float
    hit: NDArray[np.bool_]
    source: NDArray[np.int64]


def spoil(clip: Clip, kind: str, seed: int = 0) -> Spoiled:
    """Return `clip` spoiled in the way `kind`; the clip's name, the kind and the seed decide how.

    Raises:
        ValueError: the kind is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown corruption {kind!r}; expected one of {sorted(KINDS)}")
    rng = np.random.default_rng([zlib.crc32(f"{clip.name} {kind}".encode()), seed])
    severity = float(rng.uniform(*KINDS[kind].severity))
    length = len(clip.frames)
    when = KINDS[kind].when
    lasts = when == "always" or (when == "either" and rng.random() < 0.5)
    if kind == "stutter":
        return _stutter(clip, severity, rng)
    if kind == "packet_loss":
        frames, hit = lose_packets(clip.frames, severity, rng)
    else:
        frames = clip.frames
        for _ in range(KINDS[kind].times):
            frames = corrupt(frames, clip.times_s, kind, severity, rng)
        hit = np.ones(length, bool) if lasts else spells(clip.times_s, rng)
    frames = np.where(hit[:, None, None, None], frames, clip.frames)
    return Spoiled(replace(clip, frames=frames), kind, severity, hit, np.arange(length))


def spells(times_s: NDArray[np.float64], rng: Rng) -> NDArray[np.bool_]:
    """Return (T,) bool, which frames lie in a spell: 0.2 to 1 s each, with 0.2 to 1 s between them.

    At least one frame is hit; a spell may have begun before the first frame.
    """
    hit = np.zeros(len(times_s), bool)
    start = float(times_s[0]) + rng.uniform(-0.5, 0.8)
    while start <= times_s[-1]:
        end = start + rng.uniform(0.2, 1.0)
        hit |= (times_s >= start) & (times_s < end)
        start = end + rng.uniform(0.2, 1.0)
    if not hit.any():
        hit[int(rng.integers(len(hit)))] = True
    return hit


def lose_packets(frames: Frames, severity: float, rng: Rng) -> tuple[Frames, NDArray[np.bool_]]:
    """Return frames as decoded from H.264 of which some slices never arrived, and which frames differ.

    Every frame but the first is sent as slices; up to half of them is lost. The decoder fills the holes
    from the frame before, and the damage drifts along until the next key frame.
    """
    height, width = frames.shape[1:3]
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.thread_count = Fraction(25), 1
    encoder.options = {
        "crf": "26", "preset": "veryfast", "tune": "zerolatency", "g": "12", "bf": "0",
        "slice-max-size": "300",
    }  # fmt: skip
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoder.options = {"ec": "guess_mvs+deblock", "flags": "+output_corrupt"}
    decoded: list[Frames] = []
    hit = np.zeros(len(frames), bool)
    damaged = False
    for number, frame in enumerate(frames):
        video = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame))
        video.pts = number
        for packet in encoder.encode(video):
            data, lost = _drop_slices(bytes(packet), 0.5 * severity if number else 0.0, rng)
            damaged = lost or (damaged and not packet.is_keyframe)
            decoded += _decode(decoder, data)
        # A decoder that gives nothing repeats its last picture, as players do.
        while len(decoded) < number + 1:
            decoded.append(decoded[-1] if decoded else frame)
        hit[number] = damaged
    return np.stack(decoded[: len(frames)]), hit


def _decode(decoder: av.VideoCodecContext, data: bytes) -> list[Frames]:
    if not data:
        return []  # to the decoder an empty packet would be the end
    try:
        return [
            np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
            for picture in decoder.decode(av.Packet(data))
        ]
    except av.error.InvalidDataError:
        return []


def _drop_slices(packet: bytes, share: float, rng: Rng) -> tuple[bytes, bool]:
    """Leave out about `share` of the slices (NAL units of type 1 or 5) of an Annex B packet."""
    units = packet.split(b"\x00\x00\x01")
    kept, lost = [], False
    for unit in units[1:]:
        is_slice = bool(unit) and (unit[0] & 31) in (1, 5)
        if is_slice and rng.random() < share:
            lost = True
            continue
        kept.append(unit.rstrip(b"\x00") if not is_slice else unit)
    return b"".join(b"\x00\x00\x00\x01" + unit for unit in kept), lost


def _stutter(clip: Clip, severity: float, rng: Rng) -> Spoiled:
    """Frames that never come, others that come twice, and noise so that a repeat tells nothing."""
    kept = rng.random(len(clip.frames)) >= 0.35 * severity
    kept[0] = True
    rows = np.flatnonzero(kept)
    again = rng.random(len(rows)) < 0.35 * severity
    again[0] = False
    source = rows[np.maximum.accumulate(np.where(again, 0, np.arange(len(rows))))]
    times_s = clip.times_s[rows]
    frames = corrupt(clip.frames[source], times_s, "noise", 0.7 * severity, rng)
    truth = tuple(clip.truth[row] for row in source)
    stuttered = replace(clip, frames=frames, times_s=times_s, truth=truth)
    return Spoiled(stuttered, "stutter", severity, np.ones(len(rows), bool), source)
