"""What is told and kept of one stream at the moment when its source is lost."""

from __future__ import annotations

import time
from pathlib import Path

from moving_things import Thing, frame_result
from tap_videos import make_video, tapped

from groundstream.operators.events.engine import RuleEngine
from groundstream.operators.events.rules import StreamRules, Zone
from groundstream.operators.recording.archive import ArchiveSettings, StreamArchive
from groundstream.operators.recording.index_reader import query_events, segments_between

EVERYWHERE = StreamRules(zones=(Zone("all", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))),), settle_s=0.0)
LOST = "the camera is away"


def test_the_recording_is_there_while_the_source_is_away(tmp_path: Path) -> None:
    archive = StreamArchive("cam", ArchiveSettings(ring_bytes=2**26, file_s=60.0), tmp_path)
    segments = tapped(make_video(tmp_path / "in.mp4"))[1]
    for segment in segments:
        archive.add_segment(segment)

    archive.interrupt(LOST, ())

    deadline = time.monotonic() + 60
    while not (files := segments_between(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [each.file.end_s for each in files] == [segments[-1].end_s]
    assert not list(tmp_path.rglob("*.part"))
    archive.end(None, ())
    archive.close()


def test_events_without_clips_reach_the_index(tmp_path: Path) -> None:
    archive, rules = (
        StreamArchive("cam", ArchiveSettings(ring_bytes=2**26), tmp_path),
        RuleEngine("cam", EVERYWHERE),
    )
    events, result = rules.update(frame_result(0.0, [Thing(0.5, 0.5)]))
    assert archive.add(result, events) == events
    archive.end(None, rules.end("the stream has ended"))
    archive.close()

    (event,) = query_events(tmp_path)
    assert (event.event.kind, event.event.truncated) == ("zone_enter", "the stream has ended")
