"""Time of frames: from time stamps to seconds, sampling by time, playing at the source's own pace."""

from __future__ import annotations

import math
import threading
import time

#: A step back in time that is longer than this is a new start of the source's clock, not a stray stamp.
_NEW_START_S = 1.0
#: What a frame with a stray stamp is put after its predecessor.
_SMALL_STEP_S = 0.001
#: Matroska rounds times to milliseconds; a tick may be missed by that much.
_TICK_TOLERANCE_S = 0.002
#: A paced source that is later than this does not hurry to catch up.
_LATEST_S = 1.0


class Clock:
    """Media time of decoded frames in seconds; grows with every frame.

    Missing and repeated stamps, steps back, and (where `longest_gap_s` is given) leaps forward are repaired
    and counted in `repaired`.
    """

    def __init__(
        self, interval_s: float, start_s: float | None = None, longest_gap_s: float = math.inf
    ) -> None:
        """Take the frames' nominal distance and, where known, the stamp that counts as zero."""
        self.repaired = 0
        self._interval_s, self._start_s, self._longest_gap_s = interval_s, start_s, longest_gap_s
        self._last_s: float | None = None

    def read(self, stamp_s: float | None) -> float:
        """Return the media time of the next frame, whose stamp in seconds is `stamp_s`."""
        self._last_s = self._next(stamp_s)
        return self._last_s

    def _next(self, stamp_s: float | None) -> float:
        last_s = self._last_s
        expected_s = 0.0 if last_s is None else last_s + self._interval_s
        if stamp_s is None:
            # RTSP leaves the first frame of a connection without a stamp; zero is right for it.
            self.repaired += last_s is not None
            return expected_s
        if self._start_s is None:
            self._start_s = stamp_s - expected_s
        time_s = stamp_s - self._start_s
        if last_s is None:
            if time_s < 0:  # decoded although it lies before the start that the file declares
                self._start_s, time_s = stamp_s, 0.0
            return time_s
        if last_s < time_s <= last_s + self._longest_gap_s:
            return time_s
        self.repaired += 1
        if last_s - _NEW_START_S <= time_s <= last_s:
            return last_s + _SMALL_STEP_S
        self._start_s = stamp_s - expected_s
        return expected_s


class Sampler:
    """Keeps the first frame and then the first at or after each tick of `fps`; everything when None."""

    def __init__(self, fps: float | None) -> None:
        self._fps = fps
        self._first_s: float | None = None
        self._tick_s = 0.0

    def keeps(self, time_s: float) -> bool:
        """Tell whether the frame at `time_s` is kept; times must grow."""
        if self._fps is None:
            return True
        if self._first_s is None:
            self._first_s = self._tick_s = time_s
        tolerance_s = min(_TICK_TOLERANCE_S, 0.1 / self._fps)
        if time_s < self._tick_s - tolerance_s:
            return False
        ticks = math.floor((time_s - self._first_s + tolerance_s) * self._fps) + 1
        self._tick_s = self._first_s + ticks / self._fps
        return True


class Pacer:
    """Holds frames back until their media time has come in real time."""

    def __init__(self, closing: threading.Event) -> None:
        self._closing = closing
        self._zero: float | None = None

    def wait(self, time_s: float) -> None:
        """Wait until the frame at `time_s` is due, or the source closes.

        Where frames come later than they are due (a slow disk, a late HLS segment), the pace starts anew
        from there.
        """
        now = time.monotonic()
        if self._zero is None or now - (self._zero + time_s) > _LATEST_S:
            self._zero = now - time_s
        self._closing.wait(max(0.0, self._zero + time_s - now))
