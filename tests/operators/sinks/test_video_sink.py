import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from groundstream.models.types import ModelInfo, Prompt
from groundstream.operators.errors import OutputError
from groundstream.operators.frames import Frame, FrameResult, SeenObject
from groundstream.operators.sinks.video import VideoSink

PROMPT = Prompt.of(["红色汽车", "dog"])
MODEL = ModelInfo("fake", "fake", "0", "0", "phrase")


SEEN = SeenObject("cam:1:7", "红色汽车", 0.9, (20, 40, 60, 70), "confirmed", 7, 0, (0.9, 0.1), 1.0)


def result(
    seq: int, time_s: float, size: tuple[int, int] = (96, 128), *, epoch: int = 1, wall_time: float = 0.0
) -> FrameResult:
    pixels = np.full((*size, 3), 90, np.uint8)
    picture = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")
    frame = Frame("cam", epoch, seq, time_s, wall_time, picture)
    return FrameResult(frame, PROMPT, MODEL, (SEEN,))


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [round(float(frame.time), 4) for frame in container.decode(video=0)]


def test_every_frame_is_there_at_its_own_time(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "a.mp4")
    given = [0.0, 0.04, 0.1, 0.5, 0.533, 2.0, 2.001]
    for seq, time_s in enumerate(given):
        sink.write(result(seq, 3.5 + time_s))
    sink.close()
    sink.close()
    assert times(tmp_path / "a.mp4") == given
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")


def test_objects_are_drawn_and_lost_ones_are_not(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "a.mp4")
    seen, lost = result(0, 0.0), dataclasses.replace(result(1, 1.0), objects=(SEEN._replace(state="lost"),))
    sink.write(seen)
    sink.write(lost)
    sink.close()
    with av.open(str(tmp_path / "a.mp4")) as container:
        drawn, plain = (frame.to_ndarray(format="gray").astype(int) for frame in container.decode(video=0))
    assert np.abs(drawn - 90).max() > 60
    assert np.abs(plain - 90).max() < 25


def test_odd_sizes_gain_one_pixel(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "a.mp4")
    sink.write(result(0, 0.0, (95, 127)))
    sink.close()
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.height, frame.width) == (96, 128)


def test_a_new_picture_size_begins_a_new_part(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "a.mp4")
    for seq, size in enumerate([(96, 128)] * 3 + [(64, 64)] * 2):
        sink.write(result(seq, seq / 10, size))
    sink.close()
    assert times(tmp_path / "a.mp4") == [0.0, 0.1, 0.2]
    assert times(tmp_path / "a.2.mp4") == [0.0, 0.1]


def test_after_a_reconnect_the_clock_goes_on_with_the_wall_clock(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "a.mp4")
    sink.write(result(0, 100.0, wall_time=50.0))
    sink.write(result(1, 100.5, wall_time=50.5))
    sink.write(result(2, 0.2, epoch=2, wall_time=55.5))
    sink.write(result(3, 0.7, epoch=2, wall_time=56.0))
    sink.close()
    assert times(tmp_path / "a.mp4") == [0.0, 0.5, 5.5, 6.0]


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "no" / "a.mp4")
    with pytest.raises(OutputError, match=r"cannot write the video .*No such file"):
        sink.write(result(0, 0.0))


_CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from test_video_sink import result
from groundstream.operators.sinks.video import VideoSink
sink = VideoSink(Path({path!r}))
for seq in range(10_000):
    sink.write(result(seq, seq / 25))
    print(seq, flush=True)
"""


@pytest.mark.slow
def test_a_killed_run_leaves_a_video_that_plays(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    code = _CHILD.format(here=str(Path(__file__).parent), path=str(path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= 200:
                os.kill(child.pid, signal.SIGKILL)
                break
    kept = times(path)
    assert kept == [round(number / 25, 4) for number in range(len(kept))]
    assert len(kept) >= 200 - 25 - 15  # the fragment that was open (1 s) and what the encoder held
