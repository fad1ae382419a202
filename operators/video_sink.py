"""Annotated video: H.264 in fragmented MP4 that plays in browsers and after `kill -9`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from groundstream.operators.annotate import Annotator
from groundstream.operators.errors import OutputError
from groundstream.operators.frames import Frame, FrameResult

CLOCK = Fraction(1, 90_000)  # divides 24, 25, 30, 50, 60 and 30000/1001 frames a second without rest
FRAGMENT_S = 1.0  # at most so much of the end is lost when the process is killed
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof+skip_trailer", "flush_packets": "1"}
# No B-frames: their reordering would shift every time stamp.
_ENCODER = {"preset": "veryfast", "crf": "23", "rc-lookahead": "10", "bf": "0"}


class VideoSink:
    """Writes every result's picture with its objects drawn, at the source's own times.

    The video starts at 0 and its frames are as far apart as the source's, also with a variable frame
    rate. After a reconnect (new epoch) the clock goes on with the wall clock. Where the picture size
    changes, a new part begins beside the first: `annotated.2.mp4`.
    """

    name = "video"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts = 0
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
            path = self._path
            if self._parts > 1:
                path = path.with_name(f"{path.stem}.{self._parts}{path.suffix}")
            self._clock = MediaClock()
            self._writer = _Part(path, size)
        return self._writer


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
    """One MP4 file of one picture size."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self.size = size
        height, width = size
        self._annotate = Annotator(height, width)
        self._to_bgr, self._to_yuv = VideoReformatter(), VideoReformatter()
        self._even = (height + height % 2, width + width % 2)  # 4:2:0 has no odd sizes
        self._container = av.open(str(path), "w", format="mp4", options=_FRAGMENTED)
        self._stream = _h264_stream(self._container, self._even)
        self._container.start_encoding()  # opens the file now, so that a wrong path is known at once
        self._last_pts = self._last_key_pts = -1
        self._step = round(1 / CLOCK / 25)
        self._waiting: av.VideoFrame | None = None

    def write(self, result: FrameResult, time_s: float) -> None:
        bgr = self._to_bgr.reformat(result.frame.picture, format="bgr24").to_ndarray()
        drawn = self._annotate(np.ascontiguousarray(bgr, np.uint8), result)
        pad_h, pad_w = self._even[0] - drawn.shape[0], self._even[1] - drawn.shape[1]
        if pad_h or pad_w:
            drawn = np.pad(drawn, ((0, pad_h), (0, pad_w), (0, 0)), mode="edge")
        frame = self._to_yuv.reformat(av.VideoFrame.from_numpy_buffer(drawn, "bgr24"), format="yuv420p")
        frame.pts, frame.time_base = max(self._last_pts + 1, round(time_s / CLOCK)), CLOCK
        self._send(frame)
        self._last_pts = frame.pts

    def _send(self, frame: av.VideoFrame) -> None:
        """Encode the frame before this one, whose duration is known now."""
        if self._waiting is not None:
            self._step = _pts(frame) - _pts(self._waiting)
            self._encode(self._waiting)
        self._waiting = frame

    def _encode(self, frame: av.VideoFrame) -> None:
        frame.duration = self._step
        if self._last_key_pts < 0 or _pts(frame) - self._last_key_pts >= FRAGMENT_S / CLOCK:
            frame.pict_type = PictureType.I
            self._last_key_pts = _pts(frame)
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def close(self) -> None:
        if self._waiting is not None:
            self._encode(self._waiting)
        for packet in self._stream.encode(None):
            self._container.mux(packet)
        self._container.close()


def _h264_stream(container: av.container.OutputContainer, size: tuple[int, int]) -> VideoStream:
    if "libx264" not in av.codecs_available:
        raise OutputError(
            "annotated video needs the H.264 encoder libx264, which this build of PyAV lacks; "
            "install PyAV's own wheel (pip install --force-reinstall av) or leave the video out (--no-video)"
        )
    stream = container.add_stream("libx264", rate=Fraction(25), options=dict(_ENCODER))
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = CLOCK
    return stream


def _pts(frame: av.VideoFrame) -> int:
    assert frame.pts is not None
    return frame.pts


def _cannot_write(path: Path, error: Exception) -> OutputError:
    detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return OutputError(f"cannot write the video {path}: {detail}; free some space or choose another --out")
