"""Clips where something goes wrong: cameras, formats, clocks, disks."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from clip_stage import Happening, Stage, expected
from counter_video import make_counter, numbers
from segment_reader import segments_of

from groundstream.operators.clips.job import PENDING, left_behind
from groundstream.operators.clips.renderer_main import render_job
from groundstream.operators.clips.settings import ClipSettings
from groundstream.operators.clips.spec import clip_name
from groundstream.operators.errors import OutputError
from groundstream.operators.frames import Frame
from groundstream.operators.sources import SourceOptions, open_source
from groundstream.operators.video.segment import Segment
from groundstream.operators.video.tap import PacketTap

SETTINGS = ClipSettings(late_s=3.0, pre_s=2.0, post_s=1.5)


def shifted(segment: Segment, by_s: float, epoch: int) -> Segment:
    """Return a segment as it would be `by_s` later, in another epoch."""
    return replace(
        segment,
        epoch=epoch,
        start_s=segment.start_s + by_s,
        end_s=segment.end_s + by_s,
        times_s=tuple(time_s + by_s for time_s in segment.times_s),
    )


def run(stage: Stage, segments: list[Segment], happenings: list[Happening]) -> None:
    """Give segments, and after each one the results of its frames."""
    seq = 0
    for segment in segments:
        stage.add_segment(segment)
        for time_s in segment.times_s:
            if time_s < segment.end_s:
                picture = av.VideoFrame(segment.width, segment.height, "yuv420p")
                frame = Frame("cam", segment.epoch, seq, time_s, 1.7e9 + time_s, picture)
                stage.times.setdefault(segment.epoch, []).append(time_s)
                stage.give(frame, happenings)
                seq += 1


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "clips", SETTINGS)


def test_a_reconnect_during_an_event_ends_the_clip(tmp_path: Path, stage: Stage) -> None:
    make_counter(tmp_path / "in.mp4", seconds=8.0, gop=20)
    segments = segments_of(tmp_path / "in.mp4")
    again = [shifted(each, 100.0, 2) for each in segments]
    run(stage, segments + again, [Happening(5.0, 105.0), Happening(102.0, 103.0, epoch=2)])
    first, second = stage.finish()
    assert numbers(stage.file(first, "annotated")) == expected(stage.times[1], 3.0, 99.0)
    assert first["truncated"] == "the stream was interrupted"
    assert numbers(stage.file(second, "annotated")) == expected(stage.times[2], 100.0, 104.5)
    assert (second["epoch"], second["truncated"]) == (2, None)


def test_a_clock_that_jumps_back_within_a_new_epoch_is_no_trouble(tmp_path: Path, stage: Stage) -> None:
    make_counter(tmp_path / "in.mp4", seconds=8.0, gop=20)
    segments = [replace(each, start_wall=1.7e9 + each.start_s) for each in segments_of(tmp_path / "in.mp4")]
    jumped = [replace(each, start_wall=1.6e9) if each.start_s > 3 else each for each in segments]
    run(stage, jumped, [Happening(4.0, 5.0)])
    (facts,) = stage.finish()
    walls = [wall for _, _, wall in facts["frames"]]
    assert np.diff(walls) == pytest.approx(np.diff(stage.times[1][30 : 30 + len(walls)]), abs=2e-3)
    assert facts["start_wall"] == "2023-11-14T22:13:22.000Z"


@pytest.mark.parametrize(
    "change",
    [{"size": (160, 96)}, {"codec": "mpeg4"}, {"codec": "libx265"}],
    ids=lambda change: next(iter(change)) + "-" + str(next(iter(change.values()))),
)
def test_a_new_size_or_codec_begins_another_file(
    tmp_path: Path, stage: Stage, change: dict[str, object]
) -> None:
    make_counter(tmp_path / "a.mp4", seconds=6.0, gop=20)
    make_counter(tmp_path / "b.mp4", seconds=6.0, gop=20, **change)  # type: ignore[arg-type]
    other = [shifted(each, 6.0, 1) for each in segments_of(tmp_path / "b.mp4")]
    run(stage, segments_of(tmp_path / "a.mp4") + other, [Happening(4.0, 8.0)])
    clips = stage.finish()
    assert [facts["got"]["frames"] for facts in clips] == [60, 53]
    assert clips[1]["files"]["annotated"] == clips[0]["files"]["annotated"].replace(".mp4", "-2.mp4")
    assert numbers(stage.file(clips[0], "annotated")) == list(range(30, 90))
    if "size" not in change:
        assert numbers(stage.file(clips[1], "annotated")) == list(range(53))
    assert clips[1]["got"]["start_s"] == pytest.approx(clips[0]["got"]["end_s"] + 1 / 15, abs=1e-5)


def test_odd_sizes_and_rotation(tmp_path: Path, stage: Stage) -> None:
    make_counter(tmp_path / "in.mp4", seconds=8.0, gop=20, rotation=90)
    stage.play(tmp_path / "in.mp4", [Happening(4.0, 5.0)])
    (facts,) = stage.finish()
    assert (facts["width"], facts["height"]) == (192, 320)
    with av.open(str(stage.file(facts, "annotated"))) as clip, av.open(str(stage.file(facts, "raw"))) as raw:
        assert (next(clip.decode(video=0)).width, next(raw.decode(video=0)).rotation) == (192, 90)
    box = facts["tracks"][0]["boxes"][0]["box"]
    assert box[2] - box[0] == pytest.approx(60 / 320 * 192, abs=0.1)


def test_an_odd_size_gains_one_pixel(tmp_path: Path, stage: Stage) -> None:
    make_counter(tmp_path / "in.avi", seconds=6.0, codec="mjpeg", size=(321, 193))
    stage.play(tmp_path / "in.avi", [Happening(2.0, 3.0)])
    (facts,) = stage.finish()
    assert (facts["width"], facts["height"]) == (321, 193)
    with av.open(str(stage.file(facts, "annotated"))) as clip:
        picture = next(clip.decode(video=0))
        assert (picture.width, picture.height) == (322, 194)


@pytest.mark.parametrize("lacking", ["segment", "key frame"])
def test_a_missing_group_of_pictures_is_a_gap_that_is_told(
    tmp_path: Path, stage: Stage, lacking: str
) -> None:
    make_counter(tmp_path / "in.mp4", seconds=10.0, gop=15)
    segments = segments_of(tmp_path / "in.mp4")
    lost = segments.pop(5)
    run(stage, segments[:5], happenings := [Happening(4.0, 6.0)])
    if lacking == "key frame":
        stage.manager.add_segment(replace(lost, keyed=False))
    run(stage, segments[5:], happenings)
    (facts,) = stage.finish()
    assert facts["got"]["gaps"] == [[5.0, 6.0]]
    assert numbers(stage.file(facts, "annotated")) == [*range(30, 75), *range(90, 113)]


def test_damaged_video_gives_what_can_be_decoded(tmp_path: Path, stage: Stage) -> None:
    make_counter(tmp_path / "in.mp4", seconds=10.0, gop=15)
    segments = segments_of(tmp_path / "in.mp4")
    data = bytearray(segments[4].data)
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    segments[4] = replace(segments[4], data=bytes(data))
    run(stage, segments, [Happening(4.0, 6.0)])
    (facts,) = stage.finish()
    got = numbers(stage.file(facts, "annotated"))
    assert got[:30] == list(range(30, 60))
    assert set(range(75, 113)) <= set(got)


def test_a_camera_without_video_to_keep_is_told_and_leaves_nothing(tmp_path: Path, stage: Stage) -> None:
    picture = av.VideoFrame(96, 64, "yuv420p")
    for number in range(60):
        stage.give(Frame("cam", 1, number, number / 5, 1.7e9, picture), [Happening(2.0, 3.0)])
    assert stage.finish() == []
    assert len(stage.problems) == 1
    assert "no video was recorded" in stage.problems[0]
    assert not list((stage.folder / PENDING).iterdir())


def test_a_source_without_key_flags_gives_its_clip_at_its_end(tmp_path: Path, stage: Stage) -> None:
    make_counter(tmp_path / "in.mp4", seconds=12.0, gop=10_000)
    stage.play(tmp_path / "in.mp4", [Happening(5.0, 6.0)])
    assert stage.jobs == []
    (facts,) = stage.finish()
    assert numbers(stage.file(facts, "annotated")) == expected(stage.times[1], 3.0, 7.5)


def test_secrets_and_odd_phrases_do_not_reach_file_names(tmp_path: Path) -> None:
    for phrase, word in [
        ("../../etc/passwd", "-etc-passwd-"),
        ("rtsp://admin:hunter2@10.0.0.5/live", "-rtsp-10-0-0-5-live-"),
        ("红色汽车", "-红色汽车-"),
        ("a" * 500, "-" + "a" * 40 + "-"),
        ("???", "appear-"),
        ("", "appear-"),
    ]:
        name = clip_name(0.0, "appear", phrase)
        assert word in name
        assert "hunter2" not in name
        (tmp_path / name).touch()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no right to mount a small file system: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)  # a failed writer may hold a file still


def test_a_full_disk_while_a_clip_is_made_keeps_the_job(tmp_path: Path, small_disk: Path) -> None:
    make_counter(tmp_path / "in.mp4", seconds=10.0, gop=15)
    stage = Stage(small_disk / "clips", SETTINGS)
    stage.play(tmp_path / "in.mp4", [Happening(4.0, 6.0)])
    stage.manager.end()
    stage.writer.close()
    (job,) = stage.jobs
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(2**20))
    with pytest.raises(OutputError, match=r"cannot make the clip .*[Nn]o space|the disk is full"):
        render_job(job)
    assert left_behind(small_disk / "clips") == (job,)
    assert not list((small_disk / "clips").glob("*Z-*"))
    ballast.unlink()
    (facts,) = stage.render()
    assert numbers(stage.file(facts, "annotated")) == list(range(30, 113))


def test_a_full_disk_while_an_event_goes_on_is_told_and_the_clip_has_a_gap(
    tmp_path: Path, small_disk: Path
) -> None:
    make_counter(tmp_path / "in.mp4", seconds=12.0, gop=15)
    stage = Stage(small_disk / "clips", SETTINGS)
    ballast = small_disk / "ballast"
    tap = PacketTap(stage.add_segment)
    with open_source(str(tmp_path / "in.mp4"), "cam", SourceOptions(semantics="file"), tap=tap) as source:
        for frame in source:
            stage.give(frame, [Happening(4.0, 8.0)])
            if frame.seq in (90, 120):
                _settle(stage)
                ballast.write_bytes(b"") if frame.seq == 120 else _fill(ballast)
    (facts,) = stage.finish()
    assert len(stage.problems) == 1
    assert "disk is full" in stage.problems[0] or "No space" in stage.problems[0]
    assert facts["got"]["gaps"]
    assert facts["got"]["end_s"] == pytest.approx(9.467, abs=1e-3)


def _settle(stage: Stage) -> None:
    deadline = time.monotonic() + 60
    while stage.writer.waiting and time.monotonic() < deadline:
        time.sleep(0.01)


def _fill(path: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        path.write_bytes(bytes(2**20))


def test_a_finished_clip_is_never_overwritten(tmp_path: Path, stage: Stage) -> None:
    make_counter(tmp_path / "in.mp4", seconds=8.0, gop=15)
    stage.play(tmp_path / "in.mp4", [Happening(4.0, 5.0)])
    stage.manager.end()
    stage.writer.close()
    (job,) = stage.jobs
    other = stage.folder / f"{job.name}.mp4"
    other.write_bytes(b"somebody's")
    with pytest.raises(OutputError, match="never overwritten"):
        render_job(job)
    assert other.read_bytes() == b"somebody's"
    assert left_behind(stage.folder) == (job,)


def test_stamps_that_start_again_within_a_file(tmp_path: Path, stage: Stage) -> None:
    make_counter(tmp_path / "a.ts", seconds=6.0, gop=15, b_frames=2)
    twice = (tmp_path / "a.ts").read_bytes() * 2
    (tmp_path / "in.ts").write_bytes(twice)
    stage.play(tmp_path / "in.ts", [Happening(5.0, 8.0)])
    (facts,) = stage.finish()
    frames = expected(stage.times[1], 3.0, 9.5)
    assert numbers(stage.file(facts, "annotated")) == [number % 90 for number in frames]
    assert len(stage.times[1]) == 180
