"""Recordings hold every picture, play as they are, and survive a full disk."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import av
import pytest
from segment_reader import read_recording
from tap_videos import HEVC, ONE_KEY_FRAME, OPEN_GOP, PYRAMID, Shown, fingerprint, make_video, tapped

from groundstream.operators.recording import writer as writer_module
from groundstream.operators.recording.files import RecordedFile, RecordingChange
from groundstream.operators.recording.writer import RecordingFiles, RecordingWriter
from groundstream.operators.sources import SourceOptions, open_source
from groundstream.operators.video.segment import Segment

ROUNDING_S = 1e-3  # Matroska's; MP4 is a hundred times finer


class Kept:
    """What a recording told."""

    def __init__(self) -> None:
        self.files: list[RecordedFile] = []
        self.changes: list[RecordingChange] = []

    def write(self, folder: Path, segments: Sequence[Segment], file_s: float = 1.0) -> list[bool]:
        """Record `segments` and finish."""
        files = self.opened(folder, file_s)
        written = [files.write(segment) for segment in segments]
        files.finish()
        return written

    def opened(self, folder: Path, file_s: float, reserve_bytes: int = 1) -> RecordingFiles:
        return RecordingFiles(folder, file_s, self.files.append, self.changes.append, reserve_bytes)


def played(file: RecordedFile) -> Shown:
    """Return the pictures of a recorded file at the stream's media times."""
    with open_source(str(file.path), "file", SourceOptions()) as source:
        return [(frame.time_s + file.start_s, fingerprint(frame.picture)) for frame in source]


def assert_same(kept: Shown, shown: Shown) -> None:
    assert [picture for _, picture in kept] == [picture for _, picture in shown]
    assert [time_s for time_s, _ in kept] == pytest.approx([t for t, _ in shown], abs=ROUNDING_S)


@pytest.mark.parametrize(
    ("name", "facts", "suffix"),
    [
        ("b.mp4", {"options": PYRAMID}, ".mp4"),
        ("open.ts", {"options": OPEN_GOP}, ".mp4"),
        ("hevc.ts", {"codec": "libx265", "options": HEVC}, ".mkv"),
        ("mpeg4.avi", {"codec": "mpeg4", "options": {"bf": "2"}}, ".mkv"),
        ("vp9.webm", {"codec": "libvpx-vp9"}, ".mp4"),
        ("motion.avi", {"codec": "mjpeg"}, ".mkv"),
        ("vp8.webm", {"codec": "libvpx"}, ".mkv"),
        ("variable.mkv", {"times_ms": [0, 40, 41, 500, 560, 2000, 2033, 2900, 3000, 3500], "gop": 3}, ".mp4"),
        ("upright.mp4", {"rotation": 270}, ".mp4"),
    ],
)
def test_files_hold_every_picture(tmp_path: Path, name: str, facts: dict[str, object], suffix: str) -> None:
    shown, segments, _ = tapped(make_video(tmp_path / name, **facts))  # type: ignore[arg-type]
    kept = Kept()
    assert all(kept.write(tmp_path / "out", segments))
    assert len(kept.files) > 1
    assert {file.path.suffix for file in kept.files} == {suffix}
    assert sorted(tmp_path.glob("out/*")) == sorted(file.path for file in kept.files)
    own = [each for file in kept.files for each in played(file) if each[0] < file.end_s - ROUNDING_S]
    assert_same(own, shown)
    for before, after in pairwise(kept.files):
        assert before.end_s == after.start_s


def test_a_finished_file_is_an_ordinary_one(tmp_path: Path) -> None:
    _, segments, _ = tapped(make_video(tmp_path / "clip.mp4", options=PYRAMID, frames=64))
    kept = Kept()
    kept.write(tmp_path / "out", segments, file_s=60.0)
    (file,) = kept.files
    assert file.path.name == time.strftime("%Y%m%dT%H%M%S.", time.gmtime(file.start_wall)) + (
        f"{int(file.start_wall * 1000) % 1000:03d}Z.mp4"
    )
    assert (file.stream_id, file.epoch, file.start_s) == ("cam", 1, 0.0)
    assert file.end_s == pytest.approx(64 / 15)
    assert file.end_wall - file.start_wall == pytest.approx(64 / 15)
    assert file.size_bytes == file.path.stat().st_size
    with av.open(str(file.path)) as container:
        assert container.duration == pytest.approx(64 / 15 * 1e6, rel=1e-3)
        assert container.streams.video[0].frames == 64
    assert b"moof" not in file.path.read_bytes()[:64]


def test_a_change_of_size_and_a_gap_begin_a_file(tmp_path: Path) -> None:
    _, small, _ = tapped(make_video(tmp_path / "small.mp4"))
    _, large, _ = tapped(make_video(tmp_path / "large.mp4", size=(160, 96)))
    end_s = small[-1].end_s
    later = [dataclasses.replace(s, start_s=s.start_s + end_s, end_s=s.end_s + end_s) for s in large]
    later = [dataclasses.replace(s, times_s=tuple(t + end_s for t in s.times_s)) for s in later]
    kept = Kept()
    kept.write(tmp_path / "out", [*small, *later[:2], later[3]], file_s=60.0)
    assert [(f.start_s, f.end_s) for f in kept.files] == [
        (0.0, end_s),
        (end_s, later[1].end_s),
        (later[3].start_s, later[3].end_s),
    ]


def test_a_stream_without_key_frames_goes_on_in_one_file(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4", options=ONE_KEY_FRAME, noise=True, frames=60)
    shown, segments, _ = tapped(path, path.stat().st_size // 5)
    assert len(segments) > 3
    kept = Kept()
    kept.write(tmp_path / "out", segments, file_s=0.5)
    (file,) = kept.files
    assert_same(played(file), shown)
    # Without its beginning nothing can be decoded.
    assert kept.write(tmp_path / "other", segments[1:]) == [False] * (len(segments) - 1)


def test_a_part_of_a_recorded_file_comes_back_as_segments(tmp_path: Path) -> None:
    shown, segments, _ = tapped(make_video(tmp_path / "clip.mp4", options=PYRAMID, frames=96))
    kept = Kept()
    kept.write(tmp_path / "out", segments, file_s=2.0)
    file = kept.files[1]
    start_s, end_s = file.start_s + 1.2, file.start_s + 1.7
    again = list(read_recording(file, start_s, end_s))
    assert again[0].start_s <= start_s < again[0].end_s
    assert (again[0].stream_id, again[0].epoch) == ("cam", 1)
    times = [t for s in again for t in s.times_s if start_s <= t < end_s]
    assert times == pytest.approx([t for t, _ in shown if start_s <= t < end_s], abs=1e-4)


def test_a_recording_in_its_thread(tmp_path: Path) -> None:
    shown, segments, _ = tapped(make_video(tmp_path / "clip.mp4", options=PYRAMID))
    kept = Kept()
    recording = RecordingWriter(
        tmp_path / "out", 1.0, on_file=kept.files.append, on_change=kept.changes.append, reserve_bytes=1
    )
    for segment in segments:
        recording.add(segment)
    recording.close()
    recording.close()
    recording.add(segments[0])
    assert (recording.counters.written, recording.counters.dropped) == (len(segments), 1)
    assert_same([each for file in kept.files for each in played(file)], shown)
    assert not kept.changes


def test_segments_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, segments, _ = tapped(make_video(tmp_path / "clip.mp4"))
    monkeypatch.setattr(RecordingFiles, "write", lambda self, segment: time.sleep(0.2) or True)
    kept = Kept()
    most = 2 * max(s.size_bytes for s in segments)
    recording = RecordingWriter(
        tmp_path / "out",
        1.0,
        on_file=kept.files.append,
        on_change=kept.changes.append,
        most_waiting_bytes=most,
    )
    for segment in segments * 5:
        recording.add(segment)
    counters = recording.counters
    assert counters.waiting <= 4
    assert counters.dropped >= 10
    recording.close()


def test_a_place_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 0.1)
    _, segments, _ = tapped(make_video(tmp_path / "clip.mp4"))
    (tmp_path / "out").write_text("a file where a folder should be")
    kept = Kept()
    files = kept.opened(tmp_path / "out", 60.0)
    assert [files.write(segment) for segment in segments[:2]] == [False, False]
    (tmp_path / "out").unlink()
    time.sleep(0.2)
    assert [files.write(segment) for segment in segments[2:]] == [True, True]
    files.finish()
    assert [change.recording for change in kept.changes] == [False, True]
    assert str(tmp_path / "out") in kept.changes[0].reason
    assert kept.changes[0].time_s == segments[0].start_s
    assert kept.changes[1].time_s == segments[2].start_s


def test_faults_of_listeners_disturb_nothing(tmp_path: Path) -> None:
    def fault(_: object) -> None:
        raise RuntimeError("oops")

    _, segments, _ = tapped(make_video(tmp_path / "clip.mp4"))
    files = RecordingFiles(tmp_path / "out", 1.0, fault, fault, 1)
    assert all(files.write(segment) for segment in segments)
    files.finish()
    assert len(list(tmp_path.glob("out/*.mp4"))) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mount.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="module")
def large_segments(tmp_path_factory: pytest.TempPathFactory) -> list[Segment]:
    path = tmp_path_factory.mktemp("large") / "clip.mp4"
    segments = tapped(make_video(path, size=(320, 240), noise=True, frames=80, gop=5))[1]
    assert sum(s.size_bytes for s in segments) > 2.5 * 2**20
    return segments


@pytest.mark.parametrize("reserve_bytes", [1, 400_000])
def test_a_full_disk(small_disk: Path, large_segments: list[Segment], reserve_bytes: int) -> None:
    kept = Kept()
    files = kept.opened(small_disk / "out", 60.0, reserve_bytes)
    written = [files.write(segment) for segment in large_segments]
    count = written.index(False)
    assert count >= 2
    assert not any(written[count:])
    assert [change.recording for change in kept.changes] == [False]
    assert "the disk is full" in kept.changes[0].reason or "No space left" in kept.changes[0].reason
    assert kept.changes[0].time_s == large_segments[count].start_s
    (file,) = kept.files
    # What was written plays; where the disk was full to the last byte, a few pictures are lost.
    pictures = sum(len(s.times_s) for s in large_segments[:count])
    assert pictures - (6 if reserve_bytes == 1 else 0) <= len(played(file)) <= pictures
    file.path.unlink()
    again = [dataclasses.replace(s, start_s=s.start_s + 100, end_s=s.end_s + 100) for s in large_segments[:2]]
    again = [dataclasses.replace(s, times_s=tuple(t + 100 for t in s.times_s)) for s in again]
    assert [files.write(segment) for segment in again] == [True, True]
    files.finish()
    assert [change.recording for change in kept.changes] == [False, True]
    assert len(played(kept.files[1])) == sum(len(s.times_s) for s in again)


def fill(path: Path) -> None:
    """Take all the room that is left."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def test_no_room_for_the_index_of_a_file(small_disk: Path, large_segments: list[Segment]) -> None:
    kept = Kept()
    files = kept.opened(small_disk / "out", 60.0)
    assert files.write(large_segments[0])
    fill(small_disk / "ballast")
    with pytest.raises(OSError, match="No space left"):
        files.finish()
    (file,) = kept.files
    assert 1 <= len(played(file)) < len(large_segments[0].times_s)
    assert not list(small_disk.glob("out/*.part"))
