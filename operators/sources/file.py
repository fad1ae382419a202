"""Video files and finished recordings over HTTP: any container and codec that PyAV reads."""

from __future__ import annotations

from collections.abc import Callable

import av
from av.container import InputContainer

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.sources.base import OnStatus
from groundstream.operators.sources.clock import Clock
from groundstream.operators.sources.decode import (
    Address,
    Decoder,
    duration_of,
    info_of,
    interval_of,
    open_container,
    rate_of,
    start_of,
    video_stream,
)
from groundstream.operators.sources.failures import reason_of
from groundstream.operators.sources.options import SourceOptions
from groundstream.operators.sources.played import Pictures, PlayedSource
from groundstream.operators.sources.values import Semantics, SourceInfo
from groundstream.operators.video.tap import PacketTap

Explain = Callable[[BaseException], SourceError]

#: How far before `start_s` to look for a key frame, in growing steps: containers without an index
#: (MPEG-TS) may land on a place from which `start_s` itself cannot be decoded.
_SEEK_MARGINS_S = (0.0, 10.0, 60.0)
#: A video that ends this much before its declared end (and 5 % of it) was cut off.
_MISSING_S = 1.0


class FileSource(PlayedSource):
    """The frames of one video file.

    `time_s` counts from where players start the file (the start of the container), so the first frame lies
    at or near 0; `start_s` and `end_s` are on that clock. A file that is cut off delivers what it has, then
    ends with a warning.

    Raises:
        SourceError: it cannot be opened, has no video, no picture can be decoded, or none lies in the range.
    """

    def __init__(
        self,
        stream_id: str,
        label: str,
        address: Address,
        semantics: Semantics,
        options: SourceOptions,
        explain: Explain,
        on_status: OnStatus | None,
        tap: PacketTap | None = None,
    ) -> None:
        super().__init__(stream_id, label, semantics, options, on_status)
        self._address, self._explain, self._end_s, self._tap = address, explain, 0.0, tap
        try:
            self._container, self._stream = self._open()
        except av.FFmpegError as error:
            raise explain(error) from None
        self._begin()

    def _pictures(self) -> Pictures:
        try:
            yield from self._read()
        except av.FFmpegError as error:
            if self._end_s > 0 and reason_of(error) in (Reason.INVALID, Reason.ENDED):
                self._trouble = f"cut off or damaged after {self._end_s:.1f} s"
                return
            raise self._explain(error) from None

    def _read(self) -> Pictures:
        start_s, duration_s = self._options.start_s or 0.0, duration_of(self._container, self._stream)
        if duration_s is not None and start_s > duration_s:
            raise self._starts_beyond(duration_s)
        for picture, time_s in self._decoded_from(start_s):
            self._end_s = time_s
            yield picture, time_s
        self._note_if_cut_off()

    def _decoded_from(self, start_s: float) -> Pictures:
        """Decode from a key frame at or before `start_s`; from the beginning where there is no such jump."""
        zero_s = start_of(self._container, self._stream)
        if start_s > 0 and zero_s is not None:
            for margin_s in _SEEK_MARGINS_S:
                if start_s <= margin_s or not self._seek(zero_s + start_s - margin_s):
                    break
                reading = self._decoded(zero_s)
                first = next(reading, None)
                if first is not None and first[1] <= start_s:
                    yield first
                    yield from reading
                    return
                reading.close()
                # Not a seek to zero: it may land behind the first key frame.
                self._container.close()
                self._container, self._stream = self._open()
        yield from self._decoded(zero_s)

    def _open(self) -> tuple[InputContainer, av.VideoStream]:
        container = open_container(self._address, self.warn)
        return container, video_stream(container, self._label, self._address.threading)

    def _seek(self, stamp_s: float) -> bool:
        try:
            self._container.seek(int(stamp_s * av.time_base))
        except av.FFmpegError:  # a format or a connection in which one cannot jump
            return False
        return True

    def _decoded(self, zero_s: float | None) -> Pictures:
        clock, cutter = Clock(interval_of(self._stream), zero_s), None
        if self._tap is not None:
            cutter = self._tap.cutter(self._stream, self._stream_id, lambda: 1, interval_of(self._stream))
        decoder = Decoder(self._stream, clock, self.counters, self._line, cutter=cutter)
        yield from decoder.pictures(self._container)

    def _note_if_cut_off(self) -> None:
        """Take note when the video ended well before the end that the file declares."""
        declared_s = duration_of(self._container, self._stream) or 0.0
        rate = rate_of(self._stream)
        if rate is not None:
            declared_s = max(declared_s, self._stream.frames / rate)
        missing_s = declared_s - self._end_s - interval_of(self._stream)
        if self._end_s > 0 and missing_s > max(_MISSING_S, 0.05 * declared_s):
            self._trouble = f"cut off: the video ends at {self._end_s:.1f} s of {declared_s:.1f} s"

    def _describe(self, first: av.VideoFrame) -> SourceInfo:
        return info_of(self._container, self._stream, first)

    def _nothing_in_range(self) -> SourceError:
        if self._options.start_s and self._end_s > 0:
            return self._starts_beyond(self._end_s)
        if self._options.end_s is not None and self.counters.packets_corrupt == 0:
            words, reason = "it has no picture in the asked range; choose a later end", Reason.ENDED
        else:
            words = (
                f"none of its pictures can be decoded ({self.counters.packets_corrupt} broken packets); "
                "check it with a player, or copy it again"
            )
            reason = Reason.DECODE
        return SourceError(f"{self._label}: {words}", reason)

    def _release(self) -> None:
        super()._release()
        self._container.close()
