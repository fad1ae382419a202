"""Pictures out of segments, and segments out of files."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av

from groundstream.operators.recording.files import RecordedFile
from groundstream.operators.sources import SourceOptions, open_source
from groundstream.operators.video.segment import Segment, shown_stamps
from groundstream.operators.video.tap import PacketTap
from groundstream.operators.video.upright import Upright


def read_segment(segment: Segment) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield the segment's own pictures upright with their media times in seconds, in the order shown.

    Pictures that cannot be decoded are missing; the times of the others stay right. The copy of the next
    segment's first picture, with which an open group ends, is left out.

    Raises:
        av.FFmpegError: the data are no video.
    """
    times_s = dict(zip(shown_stamps(segment.times_s), segment.times_s, strict=True))
    upright = Upright()
    for frame in _decoded(segment.data):
        time_s = times_s.pop(-1 if frame.pts is None else frame.pts, None)
        if time_s is not None and time_s < segment.end_s:
            yield time_s, upright(frame)


def segments_of(path: Path, stream_id: str = "file") -> list[Segment]:
    """Return the segments of a whole video file, as a tap on its source cuts them.

    Raises:
        SourceError: it cannot be read.
    """
    segments: list[Segment] = []
    tap = PacketTap(segments.append)
    with open_source(str(path), stream_id, SourceOptions(semantics="file"), tap=tap) as source:
        for _ in source:
            pass
    return segments


def read_recording(file: RecordedFile, start_s: float, end_s: float) -> Iterator[Segment]:
    """Yield the segments of a recorded file with pictures from `start_s` to before `end_s`, in media time.

    The first one begins at the key frame from which `start_s` can be decoded; the last one may be shorter
    than it was when it was recorded.

    Raises:
        SourceError: the file cannot be read, or has no picture in that range.
    """
    waiting: deque[Segment] = deque()
    options = SourceOptions(
        semantics="file", start_s=max(0.0, start_s - file.start_s), end_s=max(1e-3, end_s - file.start_s)
    )
    with open_source(str(file.path), file.stream_id, options, tap=PacketTap(waiting.append)) as source:
        for _ in source:
            while waiting:
                yield _as_recorded(waiting.popleft(), file)
    yield from (_as_recorded(segment, file) for segment in waiting)


def _as_recorded(segment: Segment, file: RecordedFile) -> Segment:
    """Return a segment of a recorded file on the clocks of the stream that was recorded."""
    return replace(
        segment,
        epoch=file.epoch,
        start_s=segment.start_s + file.start_s,
        end_s=segment.end_s + file.start_s,
        start_wall=file.start_wall + segment.start_s,
        times_s=tuple(time_s + file.start_s for time_s in segment.times_s),
    )


def _decoded(data: bytes) -> Iterator[av.VideoFrame]:
    with av.open(io.BytesIO(data), mode="r") as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.FFmpegError:  # what was broken when it came is still broken
                continue
