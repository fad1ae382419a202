"""A clip of a camera that dies during an event."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from clip_stage import Happening, Stage
from counter_video import make_counter, numbers
from rtsp_server import RtspServer

from groundstream.operators.clips.settings import ClipSettings
from groundstream.operators.sources import SourceOptions, open_source
from groundstream.operators.video.tap import PacketTap

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtspServer]:
    make_counter(tmp_path / "in.ts", seconds=30.0, gop=15)
    server = RtspServer(tmp_path / "in.ts")
    server.start()
    yield server
    server.kill()


def test_a_camera_that_dies_during_an_event_ends_the_clip_there(server: RtspServer, tmp_path: Path) -> None:
    stage = Stage(tmp_path / "clips", ClipSettings(late_s=3.0, pre_s=1.0, post_s=1.0))
    happenings = [Happening(2.0, 60.0), Happening(1.5, 1.7, epoch=2)]
    died = False
    with open_source(server.url, "cam", SourceOptions(), tap=PacketTap(stage.add_segment)) as source:
        for frame in source:
            stage.give(frame, happenings)
            if not died and frame.time_s > 4:
                died = True
                server.kill()
                server.start()
            if frame.epoch == 2 and frame.time_s > 3:
                break
    first, second = stage.finish()
    assert first["truncated"] == "the stream was interrupted"
    assert (first["epoch"], second["epoch"], second["truncated"]) == (1, 2, None)
    for facts, start_s, end_s in ((first, 1.0, 3.9), (second, 0.5, 2.6)):
        got = numbers(stage.file(facts, "annotated"))
        assert got == list(range(got[0], got[-1] + 1))
        assert facts["got"]["start_s"] == pytest.approx(start_s, abs=0.1)
        assert facts["got"]["end_s"] >= end_s
        assert set(got) <= set(numbers(stage.file(facts, "raw")))
