"""What clips are asked for, light enough for a configuration to be made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

ClipMode = Literal["events", "always"]


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """Which clips are made.

    Attributes:
        late_s: seconds after its beginning at which an event is emitted, at most: it must last a while to be
            no flicker, and a track is only gone when it has not been seen for a while.
        mode: `events` makes a clip of each event, and one of events that overlap; `always` makes an unbroken
            chain of clips.
        pre_s: seconds before an event that belong to its clip.
        post_s: seconds after it.
        longest_s: a clip that would be longer goes on in another part.
    """

    late_s: float
    mode: ClipMode = "events"
    pre_s: float = 5.0
    post_s: float = 5.0
    longest_s: float = 300.0

    @property
    def reach_s(self) -> float:
        """How far back the stream's last segments must reach, in seconds."""
        return self.pre_s + self.late_s

    def __post_init__(self) -> None:
        if self.mode not in get_args(ClipMode):
            raise ValueError(f"expected the mode events or always, but got {self.mode!r}")
        if min(self.pre_s, self.post_s, self.late_s) < 0 or self.longest_s < 1:
            raise ValueError(
                "expected pre_s, post_s and late_s of at least 0 and longest_s of at least 1 second, but got "
                f"{self.pre_s}, {self.post_s}, {self.late_s} and {self.longest_s}"
            )
