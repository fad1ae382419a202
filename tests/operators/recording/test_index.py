"""The index knows what was seen when, what was kept of it, and survives what happens to runs."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from event_factory import event, sighting
from result_factory import result, results, with_objects

from groundstream.operators.clips.timeline import observation_of
from groundstream.operators.errors import OutputError
from groundstream.operators.recording import index as index_module
from groundstream.operators.recording.files import RecordedFile
from groundstream.operators.recording.index import INDEX, IndexedClip, IndexWriter, read_index
from groundstream.operators.recording.index_reader import (
    find_indexes,
    frames_between,
    query_events,
    query_tracks,
    segments_between,
)

ZERO = 1_700_000_000.25  # wall time of the factory's frame 0


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[IndexWriter]:
    writer = IndexWriter(tmp_path / "cam" / INDEX, "cam", keep_observations=True)
    yield writer
    writer.close()


def recorded(folder: Path, start_s: float, end_s: float, name: str = "a.mp4") -> RecordedFile:
    return RecordedFile(folder / "recordings" / name, "cam", 1, start_s, end_s, ZERO + start_s, 1000)


def count(folder: Path, table: str) -> int:
    connection = read_index(folder / INDEX)
    try:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        connection.close()


def test_what_was_seen_in_a_frame_comes_back(tmp_path: Path, writer: IndexWriter) -> None:
    given = results([3, 2, 0, 0, 0, 1])
    for each in given:
        writer.add_result(each)
    writer.add_result(result(2, seq=6, stale=True))
    writer.add_file(recorded(tmp_path / "cam", 0.0, 10.0))
    assert writer.flush()
    (recording,) = segments_between(tmp_path)
    observations = frames_between(recording, 0.0, 10.0)
    # Of a row of empty frames the first says that the objects have gone.
    assert [round(observation.time_s * 30) for observation in observations] == [0, 1, 2, 5]
    for observation in observations:
        truth = observation_of(given[round(observation.time_s * 30)])
        assert truth is not None
        assert observation.epoch == truth.epoch
        assert [(s.track_id, s.phrase, s.state) for s in observation.objects] == [
            (s.track_id, s.phrase, s.state) for s in truth.objects
        ]
        for kept, seen in zip(observation.objects, truth.objects, strict=True):
            assert kept.box == pytest.approx(seen.box, abs=1e-5)
            assert kept.score == pytest.approx(seen.score, abs=1e-4)
    assert [round(observation.time_s * 30) for observation in frames_between(recording, 1 / 30, 2 / 30)] == [
        1
    ]


def test_tracks_are_told_once_with_their_best_moment(tmp_path: Path, writer: IndexWriter) -> None:
    given = results([1] * 90)
    scores = [0.3 + 0.01 * (number % 50) for number in range(90)]
    for number, each in enumerate(given):
        writer.add_result(with_objects(each, score=scores[number], box=(number, 0, number + 10, 36)))
        if number == 20:
            assert writer.flush()  # a row that is there already is completed
    assert writer.flush()
    (track,) = query_tracks(tmp_path)
    assert (track.stream_id, track.track_id) == ("cam", "cam:1:1")
    assert track.score == pytest.approx(max(scores))
    assert (track.first_s, track.last_s, track.best_s) == pytest.approx((0.0, 89 / 30, 49 / 30))
    assert (track.first_wall, track.last_wall) == pytest.approx((ZERO, ZERO + 89 / 30))
    assert track.box == pytest.approx((49 / 640, 0, 59 / 640, 0.1))


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ({}, True),
        ({"phrase": "PERSON"}, True),
        ({"phrase": "dog"}, False),
        ({"stream": "cam"}, True),
        ({"stream": "other"}, False),
        ({"since": ZERO + 1.5, "until": ZERO + 1.6}, True),
        ({"since": ZERO + 4.1}, False),
        ({"until": ZERO + 0.9}, False),
    ],
)
def test_questions(tmp_path: Path, writer: IndexWriter, question: dict[str, object], found: bool) -> None:
    after = dataclasses.replace(sighting(30), phrase="Person", time_s=1.0, wall_time=ZERO + 1.0)
    told = dataclasses.replace(event(), after=after, start_s=1.0, end_s=4.0, stream_id="cam")
    writer.add_event(told)
    for seq in (30, 120):
        writer.add_result(with_objects(result(1, seq=seq), phrase="person"))
    assert writer.flush()
    assert bool(query_events(tmp_path, **question)) is found  # type: ignore[arg-type]
    assert bool(query_tracks(tmp_path / "cam", **question)) is found  # type: ignore[arg-type]


def test_an_event_is_kept_as_it_was_told_last(tmp_path: Path, writer: IndexWriter) -> None:
    first = event("new")
    last = dataclasses.replace(first, type="end", end_s=first.start_s + 7.0)
    for told in (first, last):
        writer.add_event(told)
    assert writer.flush()
    (kept,) = query_events(tmp_path, kind=first.kind)
    assert (kept.event.id, kept.event.type, kept.event.end_s) == (first.id, "end", last.end_s)
    assert kept.end_wall is not None
    assert kept.end_wall - kept.start_wall == pytest.approx(7.0)
    assert not query_events(tmp_path, kind="recording")


def test_a_clip_is_named_in_its_events(tmp_path: Path, writer: IndexWriter) -> None:
    told = event("new")
    clip = IndexedClip(tmp_path / "cam" / "clips" / "x.mp4", 1, 0.0, 9.0, ZERO, ZERO + 9, (told.id,))
    writer.add_event(told)
    writer.add_clip(clip)
    writer.add_event(dataclasses.replace(told, type="update"))  # a message that does not know of it
    assert writer.flush()
    assert query_events(tmp_path)[0].event.clip == "x.mp4"
    writer.forget_clip(clip.path)
    assert writer.flush()
    assert (query_events(tmp_path), count(tmp_path / "cam", "clips")) == ([], 0)


def test_rows_go_with_their_recording(tmp_path: Path, writer: IndexWriter) -> None:
    files = [recorded(tmp_path / "cam", 0.0, 1.0, "a.mp4"), recorded(tmp_path / "cam", 1.0, 2.0, "b.mp4")]
    for file in files:
        writer.add_file(file)
    for number in range(60):
        writer.add_result(with_objects(result(1, seq=number), track_id=f"cam:1:{1 + number // 30}"))
    for number, moment_s in enumerate((0.5, 0.6, 1.5)):
        after = dataclasses.replace(sighting(1), time_s=moment_s, wall_time=ZERO + moment_s)
        told = dataclasses.replace(event(), id=f"e{number}", after=after, start_s=moment_s, end_s=moment_s)
        writer.add_event(dataclasses.replace(told, clip="kept.mp4") if number == 1 else told)
    assert writer.flush()
    writer.forget_file(files[0].path)
    assert writer.flush()
    (recording,) = segments_between(tmp_path)
    assert recording.file == files[1]
    assert count(tmp_path / "cam", "frames") == 30
    assert [track.track_id for track in query_tracks(tmp_path)] == ["cam:1:2"]
    # An event whose clip is still there stays.
    assert [each.event.id for each in query_events(tmp_path)] == ["e1", "e2"]


def test_two_runs_and_two_streams_are_kept_apart(tmp_path: Path) -> None:
    for run in range(2):
        for stream in ("cam", "door"):
            writer = IndexWriter(tmp_path / stream / INDEX, stream, keep_observations=True)
            writer.add_result(result(1, seq=run))
            file = dataclasses.replace(recorded(tmp_path / stream, 0.0, 5.0, f"{run}.mp4"), stream_id=stream)
            writer.add_file(file)
            writer.close()
    assert len(find_indexes(tmp_path)) == 2
    recordings = segments_between(tmp_path, stream="door")
    assert len(recordings) == 2
    # Both runs have an epoch 1, a track 1 and a second 0.
    assert [round(frames_between(r, 0.0, 5.0)[0].time_s * 30) for r in recordings] in ([0, 1], [1, 0])
    assert len(query_tracks(tmp_path)) == 4


def test_a_recovered_file_belongs_to_the_run_that_began_it(tmp_path: Path) -> None:
    first = IndexWriter(tmp_path / INDEX, "cam", keep_observations=True)
    began = time.time()
    first.add_result(result(1, seq=3))
    first.close()
    time.sleep(0.01)
    second = IndexWriter(tmp_path / INDEX, "cam", keep_observations=True)
    file = dataclasses.replace(recorded(tmp_path, 0.0, 5.0), start_wall=began)
    second.add_file(file, recovered=True)
    second.close()
    (recording,) = segments_between(tmp_path)
    assert recording.run == 1
    assert len(frames_between(recording, 0.0, 5.0)) == 1


def test_the_folder_can_be_moved(tmp_path: Path, writer: IndexWriter) -> None:
    writer.add_file(recorded(tmp_path / "cam", 0.0, 5.0))
    writer.close()
    shutil.move(tmp_path / "cam", tmp_path / "elsewhere")
    (recording,) = segments_between(tmp_path)
    assert recording.file.path.resolve() == (tmp_path / "elsewhere" / "recordings" / "a.mp4").resolve()


def test_without_a_recording_frames_are_not_kept(tmp_path: Path) -> None:
    with_tracks_only = IndexWriter(tmp_path / INDEX, "cam", keep_observations=False)
    with_tracks_only.add_result(result(2))
    with_tracks_only.close()
    assert (count(tmp_path, "frames"), len(query_tracks(tmp_path))) == (0, 1)


def test_rows_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_MOST_ROWS", {"frames": 10, "tracks": 5, "events": 5})
    monkeypatch.setattr(index_module, "_COMMITS_PER_TRIM", 1)
    writer = IndexWriter(tmp_path / INDEX, "cam", keep_observations=True)
    for number in range(50):
        writer.add_result(result(1, seq=number))
    writer.flush()
    writer.add_event(event())
    writer.close()
    assert count(tmp_path, "frames") == 10


def test_rows_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_MOST_WAITING", 20)
    monkeypatch.setattr(index_module, "COMMIT_S", 60.0)
    writer = IndexWriter(tmp_path / INDEX, "cam", keep_observations=True)
    time.sleep(0.1)
    for number in range(100):
        writer.add_result(result(1, seq=number))
    assert writer.lost == 80
    writer.close()
    assert count(tmp_path, "frames") == 20


def test_requests_to_commit_do_not_pile_up_behind_a_slow_disk(
    writer: IndexWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()
    write = writer._write

    def slow(statements: Sequence[Any]) -> None:
        begun.set()
        assert go.wait(30.0)
        write(statements)

    monkeypatch.setattr(writer, "_write", slow)
    writer.add_event(event())
    assert begun.wait(30.0)
    for number in range(100):
        writer.add_event(dataclasses.replace(event(), id=f"e{number}"))
    assert writer._worker.waiting == 2  # the commit in hand, and one for all that came since
    go.set()
    assert writer.flush()
    assert count(writer.path.parent, "events") == 101


def test_a_disk_that_fails_loses_rows_and_nothing_else(
    tmp_path: Path, writer: IndexWriter, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(tmp_path / "cam" / INDEX) as other:
        other.execute("DROP TABLE frames")
    other.close()
    for number in range(2):
        writer.add_result(result(1, seq=number))
        assert writer.flush()
    assert writer.lost == 4
    assert len([record for record in caplog.records if "rows are lost" in record.message]) == 1


def test_an_index_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text("no database at all, but long enough to look like one" * 40)
    with pytest.raises(OutputError, match="cannot write the index"):
        IndexWriter(tmp_path / INDEX, "cam", keep_observations=True)
    with pytest.raises(OutputError, match="cannot read the index"):
        query_events(tmp_path)
    (tmp_path / INDEX).unlink()
    with sqlite3.connect(tmp_path / INDEX) as other:
        other.execute("PRAGMA user_version=99")
    other.close()
    for use in (
        lambda: IndexWriter(tmp_path / INDEX, "cam", keep_observations=True),
        lambda: query_events(tmp_path),
    ):
        with pytest.raises(OutputError, match="has version 99, but this groundstream knows version 1"):
            use()
    assert query_events(tmp_path / "nowhere") == []


def test_a_killed_run_leaves_all_but_its_last_second(tmp_path: Path) -> None:
    program = f"""
import os, sys, time
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from result_factory import result
from groundstream.operators.recording.index import IndexWriter
writer = IndexWriter(Path({str(tmp_path / INDEX)!r}), "cam", keep_observations=True)
for number in range(100):
    writer.add_result(result(2, seq=number))
writer.flush()
writer.add_result(result(2, seq=100))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    assert 100 <= count(tmp_path, "frames") <= 101
    writer = IndexWriter(tmp_path / INDEX, "cam", keep_observations=True)
    writer.add_result(result(1, seq=0))
    writer.close()
    assert 101 <= count(tmp_path, "frames") <= 102


def test_reading_while_it_is_written(tmp_path: Path, writer: IndexWriter) -> None:
    for number in range(200):
        writer.add_result(result(2, seq=number))
        if number % 20 == 0:
            assert writer.flush()
            assert len(query_tracks(tmp_path)) >= 1
    assert writer.lost == 0
