"""Video files of all kinds, whole and broken."""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from clip_maker import ClipMaker, make_image, make_sound

from groundstream.operators.errors import ConfigError, Reason, SourceError
from groundstream.operators.frames import Frame
from groundstream.operators.sources import Source, SourceOptions, SourceStatus, open_source
from groundstream.operators.video.upright import Upright


def opened(uri: Path | str, **options: object) -> Source:
    return open_source(str(uri), "s", SourceOptions(**options))  # type: ignore[arg-type]


def read(uri: Path | str, **options: object) -> tuple[list[Frame], Source]:
    with opened(uri, **options) as source:
        return list(source), source


def times(frames: list[Frame]) -> list[float]:
    return [frame.time_s for frame in frames]


@pytest.mark.parametrize(
    ("name", "codec", "b_frames"),
    [
        ("a.mp4", "libx264", 0),
        ("a.mp4", "libx264", 3),
        ("a.mkv", "libx264", 3),
        ("a.ts", "libx264", 3),
        ("a.avi", "mpeg4", 0),
        ("a.webm", "libvpx-vp9", 0),
        ("a.mov", "libx265", 0),
    ],
)
def test_every_frame_of_every_container(clip: ClipMaker, name: str, codec: str, b_frames: int) -> None:
    frames, source = read(clip(name, codec=codec, b_frames=b_frames))
    assert source.semantics == "file"
    assert [frame.seq for frame in frames] == list(range(45))
    assert times(frames) == pytest.approx([number / 15 for number in range(45)], abs=1e-3)
    assert {(frame.epoch, frame.stream_id, frame.width, frame.height) for frame in frames} == {
        (1, "s", 96, 64)
    }
    assert {frame.picture.format.name for frame in frames} == {"yuv420p"}
    assert source.info is not None
    assert (source.info.width, source.info.height, source.info.fps) == (96, 64, 15)
    assert source.info.duration_s == pytest.approx(3.0, abs=0.1)
    assert source.info.frame_count == pytest.approx(45, abs=1)
    assert source.counters.frames_read == 45
    assert source.counters.times_repaired == 0


def test_variable_frame_rate_keeps_the_files_times(clip: ClipMaker) -> None:
    written = [0, 33, 200, 210, 1500, 1533, 4000]
    frames, _ = read(clip(times_ms=written, fps=30, b_frames=2))
    assert times(frames) == pytest.approx([time_ms / 1000 for time_ms in written], abs=1e-4)


def test_a_clip_without_time_stamps_gets_even_ones(clip: ClipMaker) -> None:
    frames, source = read(clip("a.h264"))
    assert times(frames) == pytest.approx([number / 25 for number in range(45)])
    assert source.counters.times_repaired == 44


@pytest.mark.parametrize(
    ("rotation", "size", "red"),
    [(0, (96, 64), (0, 0)), (90, (64, 96), (-1, 0)), (180, (96, 64), (-1, -1)), (270, (64, 96), (0, -1))],
)
def test_rotation_metadata_is_applied_once(
    clip: ClipMaker, rotation: int, size: tuple[int, int], red: tuple[int, int]
) -> None:
    frames, source = read(clip(rotation=rotation, frames=3))
    picture = frames[1].picture
    assert (picture.width, picture.height) == size
    assert source.info is not None
    assert (source.info.width, source.info.height) == size
    assert picture.format.name == "yuv420p"
    assert picture.rotation == 0
    pixel = picture.to_ndarray(format="rgb24")[red].astype(int)
    assert np.abs(pixel - (255, 0, 0)).max() < 40


def test_frames_that_sampling_keeps_are_upright_the_first_one_too(clip: ClipMaker) -> None:
    frames, source = read(clip(rotation=90), fps=5, start_s=0.5)
    assert {(frame.width, frame.height, frame.picture.rotation) for frame in frames} == {(64, 96, 0)}
    assert (len(frames), source.counters.frames_skipped) == (13, 24)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize(("start_s", "end_s"), [(0.0, 0.5), (0.7, None), (1.03, 2.0), (2.9, None)])
def test_start_and_end_are_exact(clip: ClipMaker, name: str, start_s: float, end_s: float | None) -> None:
    path = clip(name, b_frames=2, gop=20)
    everything, _ = read(path)
    frames, _ = read(path, start_s=start_s, end_s=end_s)
    wanted = [t for t in times(everything) if start_s <= t < (end_s or 99)]
    assert times(frames) == pytest.approx(wanted, abs=1e-3)
    assert frames[0].seq == 0


def test_start_in_a_file_without_time_stamps(clip: ClipMaker) -> None:
    frames, _ = read(clip("a.h264"), start_s=1.0)
    assert times(frames) == pytest.approx([number / 25 for number in range(25, 45)])


def test_sampling_by_time(clip: ClipMaker) -> None:
    frames, source = read(clip(), fps=5)
    assert times(frames) == pytest.approx([number / 5 for number in range(15)])
    assert [frame.seq for frame in frames] == list(range(15))
    assert (source.counters.frames_read, source.counters.frames_skipped) == (45, 30)
    assert not any(frame.dropped for frame in frames)


def test_the_first_time_is_near_zero_where_the_file_starts_late(clip: ClipMaker) -> None:
    frames, _ = read(clip(times_ms=[5000, 5100, 5200], fps=10, name="a.ts"))
    assert times(frames) == pytest.approx([0.0, 0.1, 0.2], abs=1e-3)


def test_a_truncated_file_gives_what_it_has_and_a_warning(
    clip: ClipMaker, caplog: pytest.LogCaptureFixture
) -> None:
    path = clip("a.mkv", noise=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    statuses: list[SourceStatus] = []
    with open_source(str(path), "s", SourceOptions(), on_status=statuses.append) as source:
        frames = list(source)
    assert 20 <= len(frames) <= 30
    assert [(status.state, status.reason) for status in statuses] == [
        ("running", None),
        ("ended", Reason.INVALID),
    ]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.name for record in warnings] == ["groundstream.stream.s"]
    assert "cut off: the video ends at 1." in warnings[0].message


def test_a_truncated_mp4_with_its_index_in_front(clip: ClipMaker) -> None:
    path = clip(noise=True, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    frames, _ = read(path)
    assert 20 <= len(frames) <= 30


def test_corrupt_bytes_in_the_middle_cost_single_frames(clip: ClipMaker) -> None:
    path = clip(noise=True)
    data, start = bytearray(path.read_bytes()), path.stat().st_size // 2
    data[start : start + 3000] = random.Random(0).randbytes(3000)
    path.write_bytes(bytes(data))
    frames, source = read(path)
    assert 35 <= len(frames) <= 44
    assert frames[-1].time_s == pytest.approx(44 / 15)
    told = sum(sum(frame.dropped.values()) for frame in frames)
    assert told == source.counters.frames_dropped["corrupt_packet"] == source.counters.packets_corrupt > 0
    assert all(later > earlier for earlier, later in pairwise(times(frames)))


def test_only_the_video_is_read_beside_sound_and_cover(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="only sound; a video stream is needed") as caught:
        opened(make_sound(tmp_path / "sound.m4a"))
    assert caught.value.reason is Reason.NO_VIDEO


def bad_files(folder: Path) -> dict[str, str]:
    (folder / "street.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    (folder / "text.txt").write_text("this is no video\n" * 50)
    (folder / "half.mp4").write_bytes(b"\x00\x00\x00 ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + bytes(900))
    (folder / "empty").mkdir()
    return {
        "stret.mp4": "there is no such file; did you mean .*street.mp4?",
        "gone/away.mp4": "there is no folder .*gone",
        "street.mp4": r"the file is empty \(0 bytes\)",
        "text.mp4": "not a video that can be read",
        "text.txt": "it has no pictures; a video stream is needed",
        "half.mp4": "not a video that can be read, or it was cut off",
        "empty": r"there are no images \(nothing found\); name a video file",
        "*.png": r"there are no images \(nothing found\)",
        "nope.png": "there is no such file",
    }


def test_bad_files_say_what_is_wrong_in_one_sentence(tmp_path: Path) -> None:
    for name, words in bad_files(tmp_path).items():
        with pytest.raises(SourceError, match=words) as caught:
            opened(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_a_video_of_which_nothing_can_be_decoded(clip: ClipMaker) -> None:
    path = clip("a.mkv", noise=True, frames=5)
    data = bytearray(path.read_bytes())
    for number in range(700, len(data) - 400):
        data[number] = 0x55 if number % 2 else data[number] ^ 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(SourceError) as caught:
        opened(path)
    assert caught.value.reason in (Reason.DECODE, Reason.INVALID, Reason.NO_VIDEO)


def test_what_cannot_be_turned_upright_is_said_when_it_is_opened(
    clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Upright, frame: av.VideoFrame) -> av.VideoFrame:
        raise av.error.ArgumentError(22, "Invalid argument")

    make_image(tmp_path / "shot.png", width=40)
    monkeypatch.setattr(Upright, "__call__", fail)
    for path in (clip("turned.mp4"), tmp_path / "shot.png"):
        with pytest.raises(SourceError, match=r"the file cannot be read \(Invalid argument\)"):
            opened(path)


def test_a_start_beyond_the_end(clip: ClipMaker) -> None:
    for name in ("a.mp4", "a.h264"):
        with pytest.raises(SourceError, match=r"ends at .* s, but the start asked for is 60.0 s"):
            opened(clip(name), start_s=60.0)


@pytest.mark.parametrize(
    "device",
    [
        pytest.param("cuda", marks=pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="it is there")),
        "d3d12va" if sys.platform == "linux" else "vdpau",
    ],
)
def test_hardware_that_is_not_there_is_one_warning(
    clip: ClipMaker, caplog: pytest.LogCaptureFixture, device: str
) -> None:
    frames, _ = read(clip(), hwaccel=device)
    assert len(frames) == 45
    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1, told
    assert "decoding in software" in told[0]


def test_hardware_that_does_not_exist(clip: ClipMaker) -> None:
    with pytest.raises(ConfigError, match=r"hwaccel 'gpu' is not known; expected one of .*cuda"):
        opened(clip(), hwaccel="gpu")


def test_a_missing_file_is_not_blamed_on_the_hardware(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SourceError, match="not a video"):
        opened(tmp_path / "text.mp4", hwaccel="cuda")


@pytest.mark.alone
def test_live_plays_in_real_time_and_never_waits_for_the_consumer(clip: ClipMaker) -> None:
    path = clip(fps=50, frames=40)
    started = time.monotonic()
    frames = []
    with opened(path, semantics="live") as source:
        for frame in source:
            frames.append(frame)
            time.sleep(0.1)
    assert source.semantics == "live"
    assert 0.75 < time.monotonic() - started < 2.0
    assert 5 <= len(frames) <= 11
    assert frames[-1].seq == 39
    told = sum(frame.dropped.get("newer_frame", 0) for frame in frames)
    assert told == source.counters.frames_dropped["newer_frame"] == 40 - len(frames)


def test_a_file_waits_for_a_slow_consumer(clip: ClipMaker) -> None:
    with opened(clip()) as source:
        first = next(iter(source))
        time.sleep(0.2)
        assert source.counters.frames_read < 15
        assert [first.seq, *(frame.seq for frame in source)] == list(range(45))


@pytest.mark.alone
def test_close_ends_a_waiting_iteration_from_another_thread(clip: ClipMaker) -> None:
    source = opened(clip(times_ms=[0, 60_000], fps=1), semantics="live")
    threading.Timer(0.1, source.close).start()
    started = time.monotonic()
    assert len(list(source)) == 1
    assert time.monotonic() - started < 1.0
    source.close()
    assert list(source) == []


def test_a_source_that_is_never_read_holds_no_thread(clip: ClipMaker) -> None:
    before = threading.active_count()
    source = opened(clip())
    assert threading.active_count() <= before  # those of earlier tests may still be ending
    source.close()
    assert list(source) == []


def test_many_files_leave_no_threads(clip: ClipMaker) -> None:
    path, before = clip(frames=5), threading.active_count()
    for _ in range(20):
        read(path)
    assert threading.active_count() <= before


def test_a_faulty_listener_does_not_stop_the_stream(
    clip: ClipMaker, caplog: pytest.LogCaptureFixture
) -> None:
    def listener(status: SourceStatus) -> None:
        raise RuntimeError(status.state)

    with open_source(str(clip()), "s", SourceOptions(), on_status=listener) as source:
        assert len(list(source)) == 45
    assert "the listener to the status of this stream failed" in caplog.text


def test_odd_rates_do_not_drift(clip: ClipMaker) -> None:
    frames, _ = read(clip(fps=Fraction(30000, 1001), frames=60))
    assert frames[-1].time_s == pytest.approx(59 * 1001 / 30000, abs=1e-4)
