"""Sources that have an end: the loop for all of them, and the reader of video files and HTTP recordings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Protocol

import av
from av.container import InputContainer

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.frames import Position
from groundstream.operators.sources.base import OnStatus, Semantics, Source, SourceCounters, SourceInfo
from groundstream.operators.sources.container import (
    Address,
    duration_of,
    info_of,
    interval_of,
    open_container,
    rate_of,
    start_of,
    video_stream,
)
from groundstream.operators.sources.decode import Clock, FramePath, Pacer, TimedFrames
from groundstream.operators.sources.failures import failure_reason, starts_beyond
from groundstream.operators.sources.options import SourceOptions
from groundstream.operators.video.tap import PacketTap

#: How far before `start_s` to look for a key frame, in growing steps: containers without an index
#: (MPEG-TS) may land on a place from which `start_s` itself cannot be decoded.
_SEEK_MARGINS_S = (0.0, 10.0, 60.0)
#: A video that ends this much before its declared end (and 5 % of it) was cut off.
_MISSING_S = 1.0
#: A frame is known by its time in a record, which has six decimals.
_AFTER_S = 2e-6


class Reader(Protocol):
    """What a source with an end is read with.

    Attributes:
        label: the source's name for its user, without credentials.
        trouble: why it ended before its end; None where it did not.
    """

    label: str
    trouble: str | None

    def frames(self, path: FramePath) -> TimedFrames:
        """Open it and read frames with their times in seconds, from `start_s` or earlier on; close it."""

    def info(self, first: av.VideoFrame) -> SourceInfo:
        """Say what is known of the video, of which `first` is the first frame that will be handed on."""

    def nothing_in_range(self, counters: SourceCounters) -> SourceError:
        """Return the error for a source without a single frame between `start_s` and `end_s`."""


class FileSource(Source):
    """A file, a finished recording or a row of images, as its `reader` reads it.

    The first frame is decoded when the source is made, so that whatever is wrong with it is said at once.
    With `live` semantics it is played in real time by its media clock and late consumers lose frames.

    Raises:
        SourceError: it cannot be opened, has no video, no frame can be decoded, or none lies in the range.
    """

    def __init__(
        self,
        stream_id: str,
        reader: Reader,
        semantics: Semantics,
        options: SourceOptions,
        on_status: OnStatus | None,
        tap: PacketTap | None = None,
    ) -> None:
        super().__init__(stream_id, reader.label, semantics, on_status)
        pacer = Pacer(self.closing) if semantics == "live" else None
        self._path = FramePath(self, options, lambda: 1, tap, pacer)
        self._reader = reader
        self._frames = self._path.in_range(reader.frames(self._path))
        try:
            self._first = next(self._frames, None)
            if self._first is None:
                raise reader.nothing_in_range(self.counters)
            self.info = reader.info(self._first[0])
        except BaseException:
            self._release()
            raise

    def resume_after(self, position: Position) -> None:
        """Leave out what comes up to `position`."""
        super().resume_after(position)
        self._path.after_s = position.time_s + _AFTER_S

    def _produce(self) -> None:
        assert self._first is not None
        first, self._first = self._first, None
        self._report("running", None, f"{self._label}: reading", epoch=1)
        for frame, time_s in chain((first,), self._frames):
            if not self._path.deliver(frame, time_s):
                break
        trouble = self._reader.trouble
        reason = Reason.INVALID if trouble else None
        self._report("ended", reason, f"{self._label}: {trouble or 'ended'}", epoch=1)

    def _release(self) -> None:
        self._first = None
        self._frames.close()


class VideoReader:
    """Reads one video file or recording, in any container and codec that PyAV reads.

    Times count from where players start the file (the start of the container), so the first frame lies
    at or near 0; `start_s` and `end_s` are on that clock. A file that is cut off delivers what it has.

    Attributes:
        label: the file's name for its user, without credentials.
        trouble: that the file was cut off or damaged, and where; None where it was not.
    """

    def __init__(
        self,
        label: str,
        address: Address,
        options: SourceOptions,
        explain: Callable[[BaseException], SourceError],
    ) -> None:
        """Take what to read and from where on; `explain` says why it cannot be opened."""
        self.label = label
        self.trouble: str | None = None
        self._address, self._options, self._explain = address, options, explain
        self._end_s = 0.0

    def frames(self, path: FramePath) -> TimedFrames:
        """Open the file and decode it, from a key frame at or before `start_s` on; close it.

        Raises:
            SourceError: it cannot be opened, has no video, or ends before `start_s`.
        """
        try:
            self._open(path)
            try:
                early, frames = self._begin(path)
                with contextlib.closing(frames):
                    for frame, time_s in chain(early, frames):
                        self._end_s = time_s
                        yield frame, time_s
                self._note_if_cut_off()
            finally:
                self._container.close()
        except av.FFmpegError as error:
            if self._end_s > 0 and failure_reason(error) in (Reason.INVALID, Reason.ENDED):
                self.trouble = f"cut off or damaged after {self._end_s:.1f} s"
                return
            raise self._explain(error) from None

    def _open(self, path: FramePath) -> None:
        self._container: InputContainer = open_container(self._address, path.source.warn)
        self._stream = video_stream(self._container, self.label, self._address.threading)

    def _begin(self, path: FramePath) -> tuple[Iterable[tuple[av.VideoFrame, float]], TimedFrames]:
        """Jump to `start_s`; return a frame that was read to see where the jump led, and those after it."""
        start_s, duration_s = self._options.start_s or 0.0, duration_of(self._container, self._stream)
        if duration_s is not None and start_s > duration_s:
            raise starts_beyond(self.label, start_s, duration_s)
        zero_s = start_of(self._container, self._stream)
        if start_s > 0 and zero_s is not None:
            for margin_s in _SEEK_MARGINS_S:
                if start_s <= margin_s or not self._seek(zero_s + start_s - margin_s):
                    break
                frames = self._decoded(path, zero_s)
                first = next(frames, None)
                if first is not None and first[1] <= start_s:
                    return (first,), frames
                frames.close()
                # Not a seek to zero: it may land behind the first key frame.
                self._container.close()
                self._open(path)
        return (), self._decoded(path, zero_s)

    def _decoded(self, path: FramePath, zero_s: float | None) -> TimedFrames:
        return path.decoded(self._container, self._stream, Clock(interval_of(self._stream), zero_s))

    def _seek(self, stamp_s: float) -> bool:
        try:
            self._container.seek(int(stamp_s * av.time_base))
        except av.FFmpegError:  # a format or a connection in which one cannot jump
            return False
        return True

    def _note_if_cut_off(self) -> None:
        """Take note when the video ended well before the end that the file declares."""
        declared_s = duration_of(self._container, self._stream) or 0.0
        rate = rate_of(self._stream)
        if rate is not None:
            declared_s = max(declared_s, self._stream.frames / rate)
        missing_s = declared_s - self._end_s - interval_of(self._stream)
        if self._end_s > 0 and missing_s > max(_MISSING_S, 0.05 * declared_s):
            self.trouble = f"cut off: the video ends at {self._end_s:.1f} s of {declared_s:.1f} s"

    def info(self, first: av.VideoFrame) -> SourceInfo:
        """Say what is known of the video, of which `first` is the first frame in the range.

        Raises:
            SourceError: it cannot be turned upright.
        """
        try:
            return info_of(self._container, self._stream, first)
        except av.FFmpegError as error:
            raise self._explain(error) from None

    def nothing_in_range(self, counters: SourceCounters) -> SourceError:
        """Return the error for a video without a single frame between `start_s` and `end_s`."""
        if self._options.start_s and self._end_s > 0:
            return starts_beyond(self.label, self._options.start_s, self._end_s)
        if self._options.end_s is not None and counters.packets_corrupt == 0:
            words, reason = "it has no picture in the asked range; choose a later end", Reason.ENDED
        else:
            words = (
                f"none of its pictures can be decoded ({counters.packets_corrupt} broken packets); "
                "check it with a player, or copy it again"
            )
            reason = Reason.DECODE
        return SourceError(f"{self.label}: {words}", reason)
