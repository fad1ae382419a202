"""The values around a source: what is asked of it, what is known of it, what became of it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from groundstream.operators.errors import Reason

Semantics = Literal["file", "live"]
State = Literal["starting", "running", "stalled", "reconnecting", "failed", "ended"]


@dataclass(frozen=True)
class SourceOptions:
    """What is asked of a source.

    Attributes:
        semantics: `file` hands on every frame in order and waits for the consumer; `live` hands on the
            newest and counts what it drops; `auto` takes `live` for cameras, `file` for all that ends.
        start_s: first moment of a file, on its media clock, in seconds.
        end_s: a file is read up to this moment, without it.
        fps: frames per second of media time to keep, never more than there are; for images the rate at
            which they follow each other (1 when None).
        transport: how RTSP carries the video.
        hwaccel: hardware decoder (`cuda`, `qsv`, `vaapi`, ...); software where it cannot be had.
        patience_s: seconds of silence after which a camera counts as stalled; None follows the measured
            frame rate.
        reconnect: a camera that is away is tried again for ever; else its loss ends the source.
    """

    semantics: Literal["auto", "file", "live"] = "auto"
    start_s: float | None = None
    end_s: float | None = None
    fps: float | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    hwaccel: str | None = None
    patience_s: float | None = None
    reconnect: bool = True

    def __post_init__(self) -> None:
        _check_choice("semantics", self.semantics, ("auto", "file", "live"))
        _check_choice("transport", self.transport, ("tcp", "udp"))
        _check_number("fps", self.fps, above_zero=True)
        _check_number("patience_s", self.patience_s, above_zero=True)
        _check_number("start_s", self.start_s, above_zero=False)
        _check_number("end_s", self.end_s, above_zero=True)
        if self.end_s is not None and self.end_s <= (self.start_s or 0.0):
            raise ValueError(
                f"end_s must be later than start_s ({self.start_s or 0.0}), but got {self.end_s}"
            )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, but got {value!r}")


def _check_number(name: str, value: float | None, *, above_zero: bool) -> None:
    if value is None:
        return
    if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
        wanted = "greater than 0" if above_zero else "0 or greater"
        raise ValueError(f"{name} must be a number {wanted}, but got {value}")


@dataclass(frozen=True)
class SourceInfo:
    """What a source says of its video.

    Attributes:
        width: of the upright picture, in pixels; may change from image to image and after a reconnect.
        height: of the upright picture, in pixels.
        fps: nominal frames per second; None where unknown.
        duration_s: length of the whole source in seconds; None where it has no end.
        frame_count: frames of the whole source, an estimate; None where it has no end.
        codec: name of the decoder (`h264`).
        pixel_format: of the decoded frames (`yuv420p`).
        time_base: unit of the time stamps in seconds; None for images.
    """

    width: int
    height: int
    fps: float | None
    duration_s: float | None
    frame_count: int | None
    codec: str
    pixel_format: str
    time_base: Fraction | None


@dataclass(frozen=True)
class SourceStatus:
    """Where a source stands.

    Attributes:
        state: `starting`, `running`, `stalled` (connected but silent), `reconnecting` (away, tried again),
            `failed` (given up) or `ended`.
        reason: why it is not running; None where all is well.
        message: one sentence for a person, without credentials.
        epoch: of the connection that it is about; 1 for files.
    """

    state: State
    reason: Reason | None
    message: str
    epoch: int


@dataclass
class SourceCounters:
    """What a source did since its start.

    Attributes:
        frames_read: frames decoded inside the asked range, those skipped by `fps` included.
        frames_skipped: frames that sampling by `fps` left out.
        frames_dropped: frames lost, by reason (`newer_frame`, `corrupt_packet`, `unreadable_image`).
        frames_damaged: frames that the decoder delivered although parts of them were concealed.
        packets_corrupt: packets that could not be decoded, or were marked as damaged.
        times_repaired: frames whose time stamp was missing or did not grow.
        reconnects: connections after the first one that delivered frames.
        stalls: connections given up because nothing came any more.
    """

    frames_read: int = 0
    frames_skipped: int = 0
    frames_dropped: Counter[str] = field(default_factory=Counter)
    frames_damaged: int = 0
    packets_corrupt: int = 0
    times_repaired: int = 0
    reconnects: int = 0
    stalls: int = 0
