"""Opened videos: from an address to libav's container and its video stream, and what these say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import av
from av.codec.hwaccel import HWAccel, HWDeviceType
from av.container import InputContainer
from av.stream import Discard, Disposition

from groundstream.operators.errors import ConfigError, Reason, SourceError
from groundstream.operators.sources.base import SourceInfo
from groundstream.operators.video.upright import Upright

Threading = Literal["FRAME", "SLICE"]

#: Where a video does not say how far its frames lie apart.
_USUAL_FPS = 25.0
#: Containers that libav makes a "video" of although they are text.
_TEXT_FORMATS = ("tty",)


@dataclass(frozen=True)
class Address:
    """What libav needs to open a source.

    Attributes:
        url: what is opened, credentials included; never shown.
        format: libav's name of the input, where it cannot be guessed (`v4l2`).
        options: libav's options.
        timeout_s: limits for opening and for one read; None (local files) waits for ever.
        threading: `FRAME` is fastest, `SLICE` adds no delay.
        hwaccel: hardware decoder to try.
    """

    url: str
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict, repr=False)
    timeout_s: tuple[float, float] | None = None
    threading: Threading = "FRAME"
    hwaccel: str | None = None


def check_hwaccel(name: str | None) -> None:
    """Refuse a hardware decoder that does not exist.

    Raises:
        ConfigError: libav knows no such device type.
    """
    known = sorted(set(HWDeviceType.__members__) - {"none"})
    if name is not None and name not in known:
        raise ConfigError(f"hwaccel {name!r} is not known; expected one of {', '.join(known)}")


def open_container(address: Address, warn: Callable[[str], None]) -> InputContainer:
    """Open `address`, with its hardware decoder where that can be had, else with one line of warning.

    Raises:
        av.FFmpegError: it cannot be opened.
    """
    if address.hwaccel is None:
        return _open(address, None)
    try:
        container = _open(address, HWAccel(address.hwaccel, allow_software_fallback=True))
    except (av.FFmpegError, RuntimeError, ValueError) as error:
        # Either the device or the source is at fault; opening without the device tells which.
        container = _open(address, None)
        words = getattr(error, "strerror", None) or type(error).__name__
        warn(f"hardware decoder {address.hwaccel} cannot be had ({words}); decoding in software")
        return container
    contexts = [stream.codec_context for stream in container.streams.video]
    if not any(context is not None and context.is_hwaccel for context in contexts):
        warn(f"hardware decoder {address.hwaccel} does not take this codec; decoding in software")
    return container


def _open(address: Address, hwaccel: HWAccel | None) -> InputContainer:
    return av.open(
        address.url,
        mode="r",
        format=address.format,
        options=address.options,
        timeout=address.timeout_s,
        hwaccel=hwaccel,
        # Tags in odd encodings are no reason to refuse a video.
        metadata_errors="replace",
    )


def video_stream(container: InputContainer, label: str, threading: Threading) -> av.VideoStream:
    """Return the first video stream that is not a cover picture, set up for decoding.

    All other streams are discarded where they are read.

    Raises:
        SourceError: there is none.
    """
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not videos or container.format.name in _TEXT_FORMATS:
        has = "only sound" if container.streams.audio else "no pictures"
        raise SourceError(f"{label}: it has {has}; a video stream is needed", Reason.NO_VIDEO)
    for stream in container.streams:
        if stream is not videos[0]:
            stream.discard = Discard.all
    if videos[0].codec_context is None:
        raise SourceError(f"{label}: there is no decoder for its video; convert it to H.264", Reason.DECODE)
    videos[0].thread_type = threading
    return videos[0]


def rate_of(stream: av.VideoStream) -> float | None:
    """Return the nominal frames per second; None where unknown."""
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def interval_of(stream: av.VideoStream) -> float:
    """Return the nominal distance of two frames in seconds."""
    return 1.0 / (rate_of(stream) or _USUAL_FPS)


def duration_of(container: InputContainer, stream: av.VideoStream) -> float | None:
    """Return the length of the video in seconds; None where it has no known end."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def start_of(container: InputContainer, stream: av.VideoStream) -> float | None:
    """Return the stamp in seconds that counts as zero: where players start; None where it is not declared.

    That is the start of the whole file, so that a video which begins after its sound keeps its distance.
    """
    if container.start_time is None:
        return None
    start_s = container.start_time / av.time_base
    if stream.start_time is not None and stream.time_base is not None:
        # The container's start is rounded to microseconds; take the exact value where they mean the same.
        exact_s = float(stream.start_time * stream.time_base)
        if abs(exact_s - start_s) < 1e-3:
            return exact_s
    return start_s


def info_of(container: InputContainer, stream: av.VideoStream, first: av.VideoFrame) -> SourceInfo:
    """Say what is known of the video, of which `first` is the first decoded frame."""
    picture = Upright()(first)
    fps, duration_s = rate_of(stream), duration_of(container, stream)
    estimate = round(duration_s * fps) if duration_s is not None and fps is not None else None
    return SourceInfo(
        width=picture.width,
        height=picture.height,
        fps=fps,
        duration_s=duration_s,
        frame_count=stream.frames or estimate,
        codec=stream.codec_context.name,
        pixel_format=picture.format.name,
        time_base=Fraction(stream.time_base) if stream.time_base is not None else None,
    )
