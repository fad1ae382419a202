"""Segments of a camera: reconnect with another size, and a loss in the middle of a group."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clip_maker import make_clip
from rtsp_server import RtspServer
from tap_videos import pictures_of

from groundstream.operators.frames import Frame
from groundstream.operators.sources import SourceOptions, open_source
from groundstream.operators.video.segment import Segment
from groundstream.operators.video.tap import PacketTap

pytestmark = pytest.mark.server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtspServer]:
    server = RtspServer(make_clip(tmp_path / "small.ts", frames=60, gop=15))
    server.start()
    yield server
    server.kill()


def read_until(frames: Iterator[Frame], count: int, epoch: int) -> list[Frame]:
    """Return frames up to the `count`-th of `epoch`."""
    found: list[Frame] = []
    while sum(frame.epoch == epoch for frame in found) < count:
        found.append(next(frames))
    return found


def test_a_camera_that_comes_back_with_another_size(server: RtspServer, tmp_path: Path) -> None:
    segments: list[Segment] = []
    large = make_clip(tmp_path / "large.ts", frames=60, gop=15, width=160, height=96)
    with open_source(server.url, "cam", SourceOptions(), tap=PacketTap(segments.append)) as source:
        frames = iter(source)
        first = read_until(frames, 40, epoch=1)
        server.kill()
        server.start(large)
        second = read_until(frames, 40, epoch=2)
    for epoch, size, seen in ((1, (96, 64), first), (2, (160, 96), second)):
        of_epoch = [s for s in segments if s.epoch == epoch]
        assert len(of_epoch) >= 2
        assert {(s.width, s.height, s.codec) for s in of_epoch} == {(*size, "h264")}
        assert of_epoch[0].start_s == 0.0
        kept = [time_s for time_s, _ in pictures_of(of_epoch)]
        # Every frame that was handed on is in a segment, the one in which the camera died included.
        assert {f.time_s for f in seen if f.epoch == epoch} <= set(kept)
        assert kept == sorted(set(kept))


def test_what_a_camera_sent_before_it_hung_is_kept(server: RtspServer) -> None:
    segments: list[Segment] = []
    options = SourceOptions(patience_s=1.0)
    with open_source(server.url, "cam", options, tap=PacketTap(segments.append)) as source:
        frames = iter(source)
        seen = read_until(frames, 22, epoch=1)
        server.pause()
        # What is on its way still comes; then the watchdog gives up, although the read hangs on.
        deadline = time.monotonic() + 60
        while segments[-1:] == [] or segments[-1].end_s <= seen[-1].time_s:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        server.resume()
        seen += read_until(frames, 3, epoch=2)
    kept = {time_s for time_s, _ in pictures_of([s for s in segments if s.epoch == 1])}
    assert {frame.time_s for frame in seen if frame.epoch == 1} <= kept
    assert [s.epoch for s in segments] == sorted(s.epoch for s in segments)
