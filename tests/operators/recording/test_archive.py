"""What is told and kept of one stream at the moment when its source is lost."""

from __future__ import annotations

import time
from pathlib import Path

from moving_things import Thing, frame_result, told
from tap_videos import make_video, tapped

from groundstream.operators.events.rules import StreamRules, Zone
from groundstream.operators.recording.archive import ArchiveSettings, StreamArchive
from groundstream.operators.recording.index_reader import query_events, segments_between

EVERYWHERE = StreamRules(zones=(Zone("all", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))),), settle_s=0.0)
LOST = "the camera is away"


def inside(time_s: float, epoch: int = 1) -> object:
    return frame_result(time_s, [Thing(0.5, 0.5)], epoch=epoch)


def test_what_is_open_ends_at_once_when_the_source_is_lost() -> None:
    archive = StreamArchive("cam", ArchiveSettings(EVERYWHERE), None)
    events = [event for at in (0.0, 0.1, 0.2) for event in archive.update(inside(at))[1]]

    ended = archive.interrupt(LOST)

    assert told(events) == [("zone_enter", "new")]
    assert [(event.type, event.truncated, event.id) for event in ended] == [("end", LOST, events[0].id)]
    assert archive.interrupt(LOST) == ()


def test_frames_that_were_on_their_way_begin_nothing_and_the_next_epoch_begins_anew() -> None:
    archive = StreamArchive("cam", ArchiveSettings(EVERYWHERE), None)
    archive.update(inside(0.0))
    archive.interrupt(LOST)

    late = [event for at in (0.1, 0.2) for event in archive.update(inside(at))[1]]
    back = [event for at in (0.0, 0.1) for event in archive.update(inside(at, epoch=2))[1]]

    assert late == []
    assert told(back) == [("zone_enter", "new")]


def test_a_source_that_never_came_may_still_come() -> None:
    archive = StreamArchive("cam", ArchiveSettings(EVERYWHERE), None)

    assert archive.interrupt("nothing listens there") == ()

    assert told(archive.update(inside(0.0))[1]) == [("zone_enter", "new")]


def test_the_recording_is_there_while_the_source_is_away(tmp_path: Path) -> None:
    archive = StreamArchive("cam", ArchiveSettings(file_s=60.0), tmp_path)
    segments = tapped(make_video(tmp_path / "in.mp4"))[1]
    for segment in segments:
        archive.add_segment(segment)

    archive.interrupt(LOST)

    deadline = time.monotonic() + 60
    while not (files := segments_between(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [each.file.end_s for each in files] == [segments[-1].end_s]
    assert not list(tmp_path.rglob("*.part"))
    archive.end(None)
    archive.close()


def test_events_without_clips_reach_the_index(tmp_path: Path) -> None:
    archive = StreamArchive("cam", ArchiveSettings(EVERYWHERE), tmp_path)
    archive.update(inside(0.0))
    archive.end(None)
    archive.close()

    (event,) = query_events(tmp_path)
    assert (event.event.kind, event.event.truncated) == ("zone_enter", "the stream has ended")
