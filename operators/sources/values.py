"""The values around a source: what is asked of it, what is known of it, what became of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from groundstream.operators.errors import Reason

Semantics = Literal["file", "live"]
State = Literal["starting", "running", "stalled", "reconnecting", "failed", "ended"]


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
