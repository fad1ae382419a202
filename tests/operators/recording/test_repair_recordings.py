"""What `kill -9` leaves of a recording plays, and the next start finishes it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import recording_writer
from browser import play
from tap_videos import HEVC, PYRAMID, Shown, fingerprint, make_video, tapped

from groundstream.operators.recording import repair as repair_module
from groundstream.operators.recording.repair import recover
from groundstream.operators.recording.writer import RecordingFiles
from groundstream.operators.sources import SourceOptions, open_source
from groundstream.operators.utils.files import held
from groundstream.operators.video.joined_file import FileFacts
from groundstream.operators.video.segment import Segment

#: The suite kills a few times; a hundred times takes two minutes.
KILLS = int(os.environ.get("GROUNDSTREAM_KILLS", "4"))
FPS = 15


def played(path: Path) -> Shown:
    """Return the pictures of a recorded file at the stream's media times."""
    facts = FileFacts.read(path)
    assert facts is not None
    with open_source(str(path), "file", SourceOptions()) as source:
        return [(frame.time_s + facts.start_s, fingerprint(frame.picture)) for frame in source]


def by_number(shown: Shown) -> dict[int, str]:
    return {round(time_s * FPS): picture for time_s, picture in shown}


def kill_after(video: Path, folder: Path, delay_s: float) -> float:
    """Record in a process, kill it `delay_s` after its first segment; return how far it had come."""
    command = [sys.executable, recording_writer.__file__, str(video), str(folder), "2.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        reached_s = float(child.stdout.readline())
        time.sleep(delay_s)
        child.kill()
        said = [float(line) for line in child.stdout if line[0].isdigit() and line.endswith("\n")]
    return max([reached_s, *said])


def begun(folder: Path, segments: list[Segment]) -> RecordingFiles:
    """Return a recording that has written `segments` and is not finished."""
    files = RecordingFiles(folder, 60.0, lambda file: None, lambda change: None, reserve_bytes=1)
    assert all(files.write(segment) for segment in segments)
    return files


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "options"), [("libx264", PYRAMID), ("libx265", HEVC)])
def test_kill_at_random_moments(tmp_path: Path, codec: str, options: dict[str, str]) -> None:
    video = make_video(tmp_path / "clip.ts", codec=codec, options=options, frames=300, noise=True)
    truth = by_number(tapped(video)[0])
    moments = random.Random(0)
    for number in range(KILLS):
        folder = tmp_path / f"out{number}"
        reached_s = kill_after(video, folder, moments.uniform(0.0, 0.4))
        for path in folder.iterdir():
            # A file that was just begun holds nothing but its head.
            if path.stat().st_size > 50_000:
                assert played(path), "an unfinished file does not play"
        files = recover(folder)
        assert not list(folder.glob("*.part*"))
        kept: dict[int, str] = {}
        for path in folder.iterdir():
            kept |= by_number(played(path))
        assert kept.items() <= truth.items()
        assert len(kept) >= reached_s * FPS - 6, "more than the last few pictures are lost"
        for file in files:
            assert 0 < file.end_s - played(file.path)[-1][0] < 0.3


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    _, segments, _ = tapped(make_video(tmp_path / "clip.mp4", options=PYRAMID))
    files = begun(tmp_path / "out", segments[:2])
    assert recover(tmp_path / "out") == []
    assert len(list(tmp_path.glob("out/*.part"))) == 1
    files.finish()
    assert [path.suffix for path in tmp_path.glob("out/*")] == [".mp4"]


def left_behind(tmp_path: Path, name: str = "clip.mp4", **facts: object) -> tuple[Path, Shown]:
    """Return the file that a killed run left, and the pictures that it was given."""
    shown, segments, _ = tapped(make_video(tmp_path / name, **facts))  # type: ignore[arg-type]
    files = begun(tmp_path / "alive", segments)
    (alive,) = (tmp_path / "alive").iterdir()
    part = tmp_path / "out" / alive.name
    part.parent.mkdir()
    part.write_bytes(alive.read_bytes())
    files.finish()
    return part, shown


@pytest.mark.parametrize("cut_bytes", [0, 1, 700])
def test_what_is_left_becomes_an_ordinary_file(tmp_path: Path, cut_bytes: int) -> None:
    part, shown = left_behind(tmp_path, options=PYRAMID, noise=True)
    os.truncate(part, part.stat().st_size - cut_bytes)
    (file,) = recover(part.parent)
    assert file.path == part.with_suffix("")
    assert (file.stream_id, file.epoch, file.start_s) == ("cam", 1, 0.0)
    kept = by_number(played(file.path))
    assert kept.items() <= by_number(shown).items()
    assert len(kept) >= len(shown) - 8
    assert file.size_bytes == file.path.stat().st_size
    assert b"moof" not in file.path.read_bytes()[:64]
    assert recover(part.parent) == []


def test_matroska_is_saved_as_well(tmp_path: Path) -> None:
    part, shown = left_behind(tmp_path, "clip.webm", codec="libvpx")
    (file,) = recover(part.parent)
    assert file.path.suffix == ".mkv"
    assert by_number(played(file.path)).items() <= by_number(shown).items()
    assert file.end_s > 2.0


def test_without_room_for_a_copy_the_file_itself_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, shown = left_behind(tmp_path, options=PYRAMID, noise=True)
    os.truncate(part, part.stat().st_size - 100)

    def full(path: Path, file: object) -> float:
        if file is not None:
            raise OSError(28, "No space left on device")
        return copy(path, None)

    copy = repair_module.copy_joined
    monkeypatch.setattr(repair_module, "copy_joined", full)
    (file,) = recover(part.parent)
    assert [path.name for path in part.parent.iterdir()] == [file.path.name]
    assert len(played(file.path)) >= len(shown) - 8


def test_a_file_without_a_picture_and_files_of_others(tmp_path: Path) -> None:
    empty = tmp_path / "20260102T030405.678Z.mp4.part"
    empty.write_bytes(b"")
    part, _ = left_behind(tmp_path)
    head = part.read_bytes()
    part.write_bytes(head[: head.index(b"moof") - 4])
    other = tmp_path / "20260102T030405.678Z-2.mp4.part"
    make_video(tmp_path / "clip.mp4").rename(other)
    notes = tmp_path / "notes.part"
    notes.write_text("mine")
    assert recover(tmp_path) == recover(part.parent) == []
    assert not empty.exists()
    assert not part.exists()
    assert other.exists()
    assert notes.exists()
    assert recover(tmp_path / "nowhere") == []


def test_two_that_start_at_once_do_not_meet(tmp_path: Path) -> None:
    part, _ = left_behind(tmp_path)
    with held(part) as ours:
        assert ours
        assert recover(part.parent) == []
    assert len(recover(part.parent)) == 1


@pytest.mark.server
@pytest.mark.slow
def test_a_browser_plays_what_is_left_and_what_is_saved(tmp_path: Path) -> None:
    part, _ = left_behind(tmp_path, options=PYRAMID, frames=90)
    unfinished = tmp_path / "unfinished.mp4"
    unfinished.write_bytes(part.read_bytes())
    (saved,) = recover(part.parent)
    (finished,) = (tmp_path / "alive").iterdir()
    for path, least_s in ((unfinished, 5.5), (saved.path, 5.5), (finished, 6.0)):
        seen = play(path, 3.0)
        assert least_s <= seen.duration_s < 6.1
        assert seen.time_s == 3.0
        assert seen.red.shape == (64, 96)
