"""Sources that have an end: read in order, all of it or at their own pace."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Generator
from itertools import chain

import av

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.frames import Position
from groundstream.operators.sources.base import OnStatus, Source
from groundstream.operators.sources.clock import Pacer, Sampler
from groundstream.operators.sources.values import Semantics, SourceInfo, SourceOptions

Pictures = Generator[tuple[av.VideoFrame, float], None, None]

#: Times of the same moment may differ by rounding.
_ROUNDING_S = 1e-6
#: A frame is known by its time in a record, which has six decimals.
_AFTER_S = 2e-6


class PlayedSource(Source):
    """A file, a finished recording or a row of images.

    The first picture is decoded when the source is made, so that whatever is wrong with it is said at once.
    With `live` semantics it is played in real time by its media clock and late consumers lose frames.
    """

    def __init__(
        self,
        stream_id: str,
        label: str,
        semantics: Semantics,
        options: SourceOptions,
        on_status: OnStatus | None,
    ) -> None:
        super().__init__(stream_id, label, semantics, on_status)
        self._options = options
        self._sampler = Sampler(options.fps)
        self._trouble: str | None = None
        self._reading: Pictures = self._in_range()
        self._first: tuple[av.VideoFrame, float] | None = None
        self._done_s = -math.inf

    def go_on_after(self, position: Position) -> None:
        """Leave out what comes up to `position`."""
        super().go_on_after(position)
        self._done_s = position.time_s + _AFTER_S

    def _begin(self) -> None:
        """Decode the first picture; the last thing that the constructor of a source does."""
        try:
            self._first = next(self._reading, None)
            if self._first is None:
                raise self._nothing_in_range()
            self.info = self._describe(self._first[0])
        except BaseException:
            self._release()
            raise

    @abstractmethod
    def _pictures(self) -> Pictures:
        """Read upright pictures with their times in seconds, from `start_s` or earlier on."""

    @abstractmethod
    def _describe(self, first: av.VideoFrame) -> SourceInfo:
        """Say what is known of the video, of which `first` is the first picture that will be handed on."""

    @abstractmethod
    def _nothing_in_range(self) -> SourceError:
        """Return the error for a source without a single picture between `start_s` and `end_s`."""

    def _starts_beyond(self, end_s: float) -> SourceError:
        """Return the error for a source that ends before the moment that was asked for."""
        start_s = self._options.start_s or 0.0
        words = f"it ends at {end_s:.1f} s, but the start asked for is {start_s:.1f} s; choose an earlier one"
        return SourceError(f"{self._label}: {words}", Reason.ENDED)

    def _produce(self) -> None:
        assert self._first is not None
        first, self._first = self._first, None
        pacer = Pacer(self._closing) if self.semantics == "live" else None
        self._tell("running", None, f"{self._label}: reading", epoch=1)
        for picture, time_s in chain((first,), self._reading):
            self.counters.frames_read += 1
            if not self._sampler.keeps(time_s):
                self.counters.frames_skipped += 1
                continue
            if time_s <= self._done_s:
                continue
            if pacer is not None:
                pacer.wait(time_s)
            if self._closing.is_set() or not self._hand_on(picture, time_s, epoch=1):
                break
        reason = Reason.INVALID if self._trouble else None
        self._tell("ended", reason, f"{self._label}: {self._trouble or 'ended'}", epoch=1)

    def _release(self) -> None:
        self._first = None
        self._reading.close()

    def _in_range(self) -> Pictures:
        start_s = self._options.start_s or 0.0
        for picture, time_s in self._pictures():
            if self._options.end_s is not None and time_s >= self._options.end_s - _ROUNDING_S:
                return
            if time_s >= start_s - _ROUNDING_S:
                yield picture, time_s
