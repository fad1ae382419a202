"""H.264 in fragmented MP4: plays in browsers, and after `kill -9` up to its last fragment."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from groundstream.operators.errors import OutputError
from groundstream.operators.video.containers import CLOCK

FRAGMENT_S = 1.0  # at most so much of the end is lost when the process is killed
#: libavformat's options for a file that is complete after each fragment.
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof+skip_trailer", "flush_packets": "1"}
# No B-frames: their reordering would shift every time stamp.
_ENCODER = {"preset": "veryfast", "crf": "23", "rc-lookahead": "10", "bf": "0"}


class VideoFile:
    """One MP4 file of one picture size, at whatever distances its pictures come."""

    def __init__(self, path: Path, size: tuple[int, int], *, threads: int = 0) -> None:
        """Open the file.

        Args:
            path: where it is written.
            size: (height, width) of the pictures in pixels; an odd one gains a row or column at the edge.
            threads: of the encoder; 0 takes what there is.

        Raises:
            OutputError: this build of PyAV has no H.264 encoder.
            OSError, av.FFmpegError: the file cannot be written.
        """
        self.size = size
        height, width = size
        self._to_yuv = VideoReformatter()
        self._even = (height + height % 2, width + width % 2)  # 4:2:0 has no odd sizes
        self._container = av.open(str(path), "w", format="mp4", options=FRAGMENTED)
        self._stream = _h264_stream(self._container, self._even, threads)
        self._container.start_encoding()  # opens the file now, so that a wrong path is known at once
        self._last_pts = self._last_key_pts = -1
        self._step = round(1 / CLOCK / 25)
        self._durations: dict[int, int] = {}  # of what the encoder holds, by time stamp
        self._waiting: av.VideoFrame | None = None

    def write(self, picture_bgr: NDArray[np.uint8], time_s: float) -> int:
        """Encode `picture_bgr`, (H, W, 3) uint8 BGR, shown at `time_s`; return its time stamp in `CLOCK`s.

        Raises:
            OSError, av.FFmpegError: the file cannot be written.
        """
        pad_h, pad_w = self._even[0] - picture_bgr.shape[0], self._even[1] - picture_bgr.shape[1]
        if pad_h or pad_w:
            picture_bgr = np.pad(picture_bgr, ((0, pad_h), (0, pad_w), (0, 0)), mode="edge")
        frame = self._to_yuv.reformat(av.VideoFrame.from_numpy_buffer(picture_bgr, "bgr24"), format="yuv420p")
        frame.pts, frame.time_base = max(self._last_pts + 1, round(time_s / CLOCK)), CLOCK
        self._send(frame)
        self._last_pts = frame.pts
        return self._last_pts

    def close(self) -> None:
        """Write what waits and finish the file.

        Raises:
            OSError, av.FFmpegError: the file cannot be written.
        """
        if self._waiting is not None:
            self._encode(self._waiting)
        self._mux(self._stream.encode(None))
        self._container.close()

    def _send(self, frame: av.VideoFrame) -> None:
        """Encode the frame before this one, whose duration is known now."""
        if self._waiting is not None:
            self._step = _pts(frame) - _pts(self._waiting)
            self._encode(self._waiting)
        self._waiting = frame

    def _encode(self, frame: av.VideoFrame) -> None:
        self._durations[_pts(frame)] = self._step
        if self._last_key_pts < 0 or _pts(frame) - self._last_key_pts >= FRAGMENT_S / CLOCK:
            frame.pict_type = PictureType.I
            self._last_key_pts = _pts(frame)
        self._mux(self._stream.encode(frame))

    def _mux(self, packets: list[av.Packet[av.VideoStream]]) -> None:
        for packet in packets:
            # The encoder makes its own of the nominal rate, and the last picture's would be wrong.
            packet.duration = self._durations.pop(packet.pts or 0, self._step)
            self._container.mux(packet)


def _h264_stream(container: av.container.OutputContainer, size: tuple[int, int], threads: int) -> VideoStream:
    if "libx264" not in av.codecs_available:
        raise OutputError(
            "annotated video needs the H.264 encoder libx264, which this build of PyAV lacks; "
            "install PyAV's own wheel (pip install --force-reinstall av) or leave the video out (--no-video)"
        )
    stream = container.add_stream("libx264", rate=Fraction(25), options=dict(_ENCODER))
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = CLOCK
    stream.codec_context.thread_count = threads
    return stream


def _pts(frame: av.VideoFrame) -> int:
    assert frame.pts is not None
    return frame.pts
