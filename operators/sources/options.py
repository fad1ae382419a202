"""What is asked of a source. Nothing heavy is imported here: configurations are checked with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

AskedSemantics = Literal["auto", "file", "live"]
Transport = Literal["tcp", "udp"]


@dataclass(frozen=True)
class SourceOptions:
    """What is asked of a source: the one place where its options, their defaults and ranges are declared.

    Raises:
        ValueError: a value lies outside its range; the message begins with the field's name.
    """

    semantics: AskedSemantics = "auto"
    """`file`: every frame, in order; the source waits for its consumer. `live`: the newest frame wins, and
    what is dropped is counted. `auto`: live for cameras, file for all that ends."""

    start_s: float | None = None
    """First moment of a file, in seconds on its media clock, 0 or greater; by default its first frame."""

    end_s: float | None = None
    """A file is read up to this moment, without it, in seconds; later than `start_s`; all by default."""

    fps: float | None = None
    """Frames to keep per second of media time, greater than 0, never more than there are; all by default.
    For images the rate at which they follow each other (1 by default)."""

    transport: Transport = "tcp"
    """How RTSP carries the video; `udp` loses packets where the network does."""

    hwaccel: str | None = None
    """Hardware decoder (`cuda`, `qsv`, `vaapi`, ...); software where it cannot be had, and by default."""

    patience_s: float | None = None
    """Seconds of silence after which a camera counts as stalled, greater than 0; by default it follows the
    measured frame rate."""

    reconnect: bool = True
    """Whether a camera that is away is tried again for ever; else its loss ends the source."""

    def __post_init__(self) -> None:
        for name, choices in (("semantics", get_args(AskedSemantics)), ("transport", get_args(Transport))):
            given = getattr(self, name)
            if given not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, but got {given!r}")
        for name, above_zero in (("fps", True), ("patience_s", True), ("start_s", False), ("end_s", True)):
            value = getattr(self, name)
            if value is None:
                continue
            if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
                wanted = "greater than 0" if above_zero else "0 or greater"
                raise ValueError(f"{name} must be a number {wanted}, but got {value}")
        start_s = self.start_s or 0.0
        if self.end_s is not None and self.end_s <= start_s:
            raise ValueError(f"end_s must be later than start_s ({start_s}), but got {self.end_s}")
