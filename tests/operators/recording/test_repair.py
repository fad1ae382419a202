"""An index learns from the disk what the last moments of a killed run did not tell it."""

from __future__ import annotations

import json
from pathlib import Path

from event_factory import event, sighting
from tap_videos import make_video, tapped

from groundstream.operators.recording.files import RecordedFile
from groundstream.operators.recording.index import INDEX, IndexedClip, IndexWriter, read_index
from groundstream.operators.recording.index_reader import query_events, segments_between
from groundstream.operators.recording.repair import KILLED, repair
from groundstream.operators.recording.writer import RecordingFiles

NAME = "20260101T000000.000Z-zone_enter-dog-00000000"


def recorded(tmp_path: Path) -> list[RecordedFile]:
    """Record a video in files of a second each."""
    files: list[RecordedFile] = []
    writer = RecordingFiles(tmp_path / "recording", 1.0, files.append, print, reserve_bytes=1)
    for segment in tapped(make_video(tmp_path / "in.mp4"))[1]:
        assert writer.write(segment)
    writer.finish()
    assert len(files) >= 2
    return files


def clip_in(folder: Path, events: list[dict[str, str]]) -> Path:
    """Leave what of a clip matters here."""
    folder.mkdir(exist_ok=True)
    facts = {
        "epoch": 1,
        "events": events,
        "files": {"annotated": f"{NAME}.mp4"},
        "got": {"start_s": 1.5, "end_s": 4.0},
        "start_wall": "2026-01-01T00:00:00.000Z",
        "end_wall": "2026-01-01T00:00:02.500Z",
    }
    (folder / f"{NAME}.json").write_text(json.dumps(facts))
    (folder / f"{NAME}.mp4").touch()
    return folder / f"{NAME}.mp4"


def repaired(tmp_path: Path) -> None:
    """Begin another run in the same folder."""
    index = IndexWriter(tmp_path / INDEX, "cam", keep_observations=True)
    repair(index, tmp_path / "recording", tmp_path / "clips")
    index.close()


def written(tmp_path: Path) -> IndexWriter:
    return IndexWriter(tmp_path / INDEX, "cam", keep_observations=True)


def test_recordings_that_it_does_not_know_are_entered_under_their_run(tmp_path: Path) -> None:
    index = written(tmp_path)
    files = recorded(tmp_path)
    index.add_file(files[0])
    index.close()

    repaired(tmp_path)

    found = segments_between(tmp_path)
    assert [each.file.path.name for each in found] == [file.path.name for file in files]
    assert {each.run for each in found} == {1}
    for each, file in zip(found, files, strict=True):
        assert abs(each.file.start_s - file.start_s) < 1e-3
        assert abs(each.file.end_s - file.end_s) < 0.1


def test_recordings_that_are_gone_are_taken_out(tmp_path: Path) -> None:
    index = written(tmp_path)
    files = recorded(tmp_path)
    for file in files:
        index.add_file(file)
    index.close()
    files[0].path.unlink()

    repaired(tmp_path)

    assert [each.file.path.name for each in segments_between(tmp_path)] == [f.path.name for f in files[1:]]


def test_events_that_nobody_ended_have_ended_where_they_were_seen_last(tmp_path: Path) -> None:
    index = written(tmp_path)
    index.add_event(event("new", 0))
    index.add_event(event("update", 45))
    index.close()

    repaired(tmp_path)

    (found,) = query_events(tmp_path)
    assert (found.event.type, found.event.end_s, found.event.truncated) == ("end", 1.5, KILLED)
    assert found.end_wall == found.start_wall + 1.5


def test_clips_that_it_does_not_know_are_entered_and_those_that_are_gone_taken_out(tmp_path: Path) -> None:
    index = written(tmp_path)
    index.add_event(event("end", 30))
    gone = tmp_path / "clips" / "20250101T000000.000Z-appear-cat-00000000.mp4"
    index.add_clip(IndexedClip(gone, 1, 0.0, 1.0, 0.0, 1.0, ("another",)))
    index.add_event(event("end", 30, id="another", after=sighting(30), clip=gone.name))
    index.close()
    path = clip_in(tmp_path / "clips", [{"id": event().id}])

    repaired(tmp_path)

    assert [each.event.clip for each in query_events(tmp_path)] == [path.name]
    with read_index(tmp_path / INDEX) as connection:
        rows = connection.execute("SELECT path, start_s, end_s FROM clips").fetchall()
    connection.close()
    assert rows == [(f"clips/{path.name}", 1.5, 4.0)]


def test_an_event_does_not_name_a_clip_that_was_never_made(tmp_path: Path) -> None:
    index = written(tmp_path)
    index.add_event(event("end", 30, clip="never.mp4"))
    index.add_event(event("new", 0, id="ran on", clip="never.mp4"))
    index.add_event(event("end", 30, id="waits", clip="waits.mp4"))
    index.close()
    (tmp_path / "clips" / ".pending" / "waits").mkdir(parents=True)

    repaired(tmp_path)

    assert {each.event.id: each.event.clip for each in query_events(tmp_path)} == {
        event().id: None,
        "ran on": None,
        "waits": "waits.mp4",
    }
