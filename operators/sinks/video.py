"""Annotated video: H.264 in fragmented MP4 that plays in browsers and after `kill -9`."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from groundstream.operators.errors import OutputError
from groundstream.operators.frames import Frame, FrameResult
from groundstream.operators.sinks.base import Sink
from groundstream.operators.utils.files import explain
from groundstream.operators.video.annotate import Annotator
from groundstream.operators.video.writer import VideoFile


class VideoSink(Sink):
    """Writes every result's picture with its objects drawn, at the source's own times.

    The video starts at 0 and its frames are as far apart as the source's, also with a variable frame
    rate. After a reconnect (new epoch) the clock goes on with the wall clock. Where the picture size
    changes, a new part begins beside the first: `annotated.2.mp4`.
    """

    name = "video"
    needs_picture = True

    def __init__(self, path: Path, parts: int = 0) -> None:
        """Take the first part's path, and how many parts are there already and stay as they are."""
        self._path = path
        self._parts = parts
        self._writer: _Part | None = None
        self._clock = MediaClock()

    def write(self, result: FrameResult) -> None:
        """Draw and encode one frame.

        Raises:
            OutputError: the file cannot be written.
        """
        frame = result.frame
        try:
            writer = self._part_for(frame)
            writer.write(result, self._clock.seconds(frame))
        except (OSError, av.FFmpegError) as error:
            raise _cannot_write(self._path, error) from error

    def close(self) -> None:
        """Finish the file; may be called twice."""
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except (OSError, av.FFmpegError) as error:
                raise _cannot_write(self._path, error) from error

    def _part_for(self, frame: Frame) -> _Part:
        size = (frame.height, frame.width)
        if self._writer is None or self._writer.size != size:
            self.close()
            self._parts += 1
            self._clock = MediaClock()
            self._writer = _Part(part_path(self._path, self._parts), size)
        return self._writer


def part_path(path: Path, number: int) -> Path:
    """Return the path of a video's part, counted from 1: `annotated.mp4`, `annotated.2.mp4`, ..."""
    return path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")


class MediaClock:
    """Seconds since the first frame, rising, across reconnects."""

    def __init__(self) -> None:
        self._epoch = 0
        self._offset_s = 0.0
        self._last_s = 0.0
        self._last_wall = 0.0

    def seconds(self, frame: Frame) -> float:
        """Return the frame's time on this clock."""
        if self._epoch == 0:
            self._offset_s = -frame.time_s
        elif frame.epoch != self._epoch:
            self._offset_s = self._last_s + max(0.0, frame.wall_time - self._last_wall) - frame.time_s
        self._epoch, self._last_wall = frame.epoch, frame.wall_time
        self._last_s = frame.time_s + self._offset_s
        return self._last_s


class _Part:
    """One MP4 file of one picture size, drawn on."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self.size = size
        self._annotate, self._to_bgr = Annotator(*size), VideoReformatter()
        self._file = VideoFile(path, size)

    def write(self, result: FrameResult, time_s: float) -> None:
        picture = result.frame.picture
        assert picture is not None, "the worker dropped the picture of a sink that draws"
        bgr = self._to_bgr.reformat(picture, format="bgr24").to_ndarray()
        self._file.write(self._annotate(np.ascontiguousarray(bgr, np.uint8), result), time_s)

    def close(self) -> None:
        self._file.close()


def _cannot_write(path: Path, error: Exception) -> OutputError:
    return OutputError(
        f"cannot write the video {path}: {explain(error)}; free some space or choose another --out"
    )
