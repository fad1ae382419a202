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
    what is dropped is counted. `auto`: `live` for cameras, `file` for sources that have an end."""

    start_s: float | None = None
    """Where to start in a file, in seconds on its media clock, 0 or greater; by default its first frame."""

    end_s: float | None = None
    """Where to end in a file (exclusive), in seconds on its media clock, later than --start; by default its
    end."""

    fps: float | None = None
    """Keep at most this many frames per second of media time, greater than 0; by default all frames are kept.
    For images: the rate at which they follow each other (1 by default)."""

    transport: Transport = "tcp"
    """Transport of RTSP; `udp` loses packets where the network does."""

    hwaccel: str | None = None
    """Hardware decoder (`cuda`, `qsv`, `vaapi`, ...); software where it is not available, and by default."""

    patience_s: float | None = None
    """Seconds of silence after which a camera counts as stalled, greater than 0; by default it follows the
    measured frame rate."""

    reconnect: bool = True
    """Whether an unreachable camera is retried indefinitely; otherwise its loss ends the source."""

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
