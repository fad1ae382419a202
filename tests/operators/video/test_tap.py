"""Segments hold every picture of the source, at its time, and decode alone."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import av
import pytest
from clip_maker import make_clip, make_image
from tap_videos import (
    GRADUAL_REFRESH,
    HEVC,
    ONE_KEY_FRAME,
    OPEN_GOP,
    PYRAMID,
    make_video,
    pictures_of,
    tapped,
    untapped,
)

from groundstream.operators.sources import SourceOptions, open_source
from groundstream.operators.video.segment import Segment
from groundstream.operators.video.tap import PacketTap

VARIABLE = [0, 40, 80, 81, 300, 340, 900, 940, 2500, 2540, 2580, 2600, 2601, 4000, 4040, 4100, 4800, 5000]


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("closed.mp4", {"options": {"x264-params": "keyint=12:scenecut=0:bframes=3"}}),
        ("pyramid.mkv", {"options": PYRAMID}),
        ("open.mp4", {"options": OPEN_GOP}),
        ("open.ts", {"options": OPEN_GOP}),
        ("hevc.mp4", {"codec": "libx265", "options": HEVC}),
        ("hevc.ts", {"codec": "libx265", "options": HEVC}),
        ("hevc.mkv", {"codec": "libx265", "options": HEVC}),
        ("motion.avi", {"codec": "mjpeg"}),
        ("mpeg4.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("mpeg2.ts", {"codec": "mpeg2video", "options": {"bf": "2"}}),
        ("vp8.webm", {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "10"}}),
        ("vp9.webm", {"codec": "libvpx-vp9", "options": {"auto-alt-ref": "1", "lag-in-frames": "10"}}),
        ("av1.mkv", {"codec": "libsvtav1", "options": {"svtav1-params": "keyint=12"}}),
        ("variable.mkv", {"times_ms": VARIABLE, "gop": 5}),
        ("long.mp4", {"frames": 155, "gop": 150}),
        ("raw.avi", {"options": {"x264-params": "keyint=12:scenecut=0:bframes=3"}}),
        ("upright.mp4", {"rotation": 90}),
    ],
)
def test_segments_hold_every_picture_at_its_time(tmp_path: Path, name: str, facts: dict[str, object]) -> None:
    path = make_video(tmp_path / name, **facts)  # type: ignore[arg-type]
    shown, segments, tap = tapped(path)
    assert tap.absent is None
    assert shown == untapped(path)
    assert pictures_of(segments) == shown
    assert len(segments) > 1
    for before, after in pairwise(segments):
        assert before.end_s == after.start_s
        assert before.start_s < before.end_s
        assert before.start_wall <= after.start_wall
    for segment in segments:
        own = [time_s for time_s in segment.times_s if time_s < segment.end_s]
        assert segment.times_s[0] == segment.start_s
        assert list(segment.times_s) == sorted(segment.times_s)
        assert own == [time_s for time_s, _ in shown if segment.start_s <= time_s < segment.end_s]
        assert segment.keyed


def test_what_a_segment_says_of_its_video(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4", codec="libx265", options=HEVC, rotation=90)
    _, segments, _ = tapped(path)
    assert {(s.stream_id, s.epoch, s.width, s.height, s.codec) for s in segments} == {
        ("cam", 1, 96, 64, "hevc")
    }
    assert segments[-1].end_s == pytest.approx(40 / 15, abs=1e-3)


def test_an_open_group_ends_with_a_copy_of_the_next_key_frame(tmp_path: Path) -> None:
    _, segments, _ = tapped(make_video(tmp_path / "open.mp4", options=OPEN_GOP))
    # Where the encoder put no pictures before a key frame there is nothing to copy.
    assert [s.times_s[-1] == s.end_s for s in segments] == [True, False, True, False]
    _, segments, _ = tapped(make_video(tmp_path / "closed.mp4", options=PYRAMID))
    assert not any(s.times_s[-1] == s.end_s for s in segments)


def test_a_segment_plays_alone(tmp_path: Path) -> None:
    _, segments, _ = tapped(make_video(tmp_path / "clip.ts", options=OPEN_GOP))
    path = tmp_path / "segment.mkv"
    path.write_bytes(segments[1].data)
    with av.open(str(path)) as container:
        assert container.format.name == "matroska,webm"
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([t - segments[1].start_s for t in segments[1].times_s], abs=1e-3)


def test_a_size_and_stamps_that_change_in_the_middle(tmp_path: Path) -> None:
    small = make_video(tmp_path / "small.ts", frames=20)
    large = make_video(tmp_path / "large.ts", frames=20, size=(160, 96))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())  # the stamps start anew, too
    shown, segments, _ = tapped(both)
    assert pictures_of(segments) == shown
    assert len(shown) == 40
    sizes = [(s.width, s.height) for s in segments]
    assert sizes == [(96, 64)] * 2 + [(160, 96)] * 2


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mkv", options=PYRAMID, noise=True, frames=50)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.7)])
    shown, segments, _ = tapped(path)
    kept = pictures_of(segments)
    assert 20 < len(shown) < 50
    # The last packet is half a picture: what a second decoder makes of it may differ.
    assert kept[:-1] == shown[: len(kept) - 1]
    assert len(shown) - len(kept) <= 1


def test_damaged_packets_shift_nothing(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.ts", noise=True, frames=60, gop=15)
    data = bytearray(path.read_bytes())
    for start in range(len(data) // 3, len(data) // 3 + 40 * 188, 188):
        data[start] ^= 0xFF
    path.write_bytes(data)
    shown, segments, _ = tapped(path)
    times = {time_s for time_s, _ in shown}
    kept = pictures_of(segments)
    assert len(kept) > 30
    assert {time_s for time_s, _ in kept} <= times
    # Whole groups are the same, picture by picture.
    assert kept[:15] == shown[:15]
    assert kept[-1] == shown[-1]


def test_stamps_that_are_missing_or_go_back(tmp_path: Path) -> None:
    # Raw H.264 has no stamps at all.
    path = make_video(tmp_path / "clip.h264", options={"x264-params": "keyint=12:scenecut=0:bframes=3"})
    shown, segments, _ = tapped(path)
    assert pictures_of(segments) == shown
    assert len(shown) == 40
    assert len(segments) == 4


def test_only_a_part_of_a_file(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4", options=PYRAMID, frames=64)
    shown, segments, _ = tapped(path, start_s=1.5, end_s=3.0)
    kept = [each for each in pictures_of(segments) if each[0] >= 1.5]
    assert kept[: len(shown)] == shown
    assert segments[0].start_s == pytest.approx(16 / 15)


@pytest.mark.parametrize("options", [GRADUAL_REFRESH, ONE_KEY_FRAME])
def test_a_stream_without_key_frames_is_cut_into_pieces(
    tmp_path: Path, options: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    path = make_video(tmp_path / "clip.mp4", options=options, noise=True, frames=60)
    most_bytes = path.stat().st_size // 5
    shown, segments, _ = tapped(path, most_bytes)
    assert [s.keyed for s in segments] == [True] + [False] * (len(segments) - 1)
    assert len(segments) >= 4
    assert max(s.size_bytes for s in segments) < 2 * most_bytes
    times = [time_s for s in segments for time_s in s.times_s if time_s < s.end_s]
    assert times == [time_s for time_s, _ in shown]
    assert pictures_of(segments[:1]) == shown[: len(segments[0].times_s)]
    warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "without a key frame" in warnings[0]


def test_packets_that_become_no_pictures_do_not_pile_up(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4", options=ONE_KEY_FRAME, frames=30)
    segments: list[Segment] = []
    tap = PacketTap(segments.append, most_bytes=1000)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        cutter = tap.cutter(stream, "cam", lambda: 1, 1 / 15)
        assert cutter is not None
        for packet in container.demux(stream):
            cutter.packet(packet)
            assert cutter._bytes <= 2000
        cutter.end()
    assert not segments


def test_images_and_raw_video_have_no_packets(tmp_path: Path) -> None:
    tap = PacketTap(lambda segment: None)
    with open_source(str(make_image(tmp_path / "a.png")), "cam", SourceOptions(), tap=tap) as source:
        assert len(list(source)) == 1
    assert tap.absent is not None
    assert "images" in tap.absent
    _, segments, tap = tapped(make_clip(tmp_path / "raw.avi", codec="rawvideo", frames=3))
    assert not segments
    assert tap.absent == "rawvideo video is not compressed"


def test_a_fault_of_the_listener_disturbs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def listener(segment: Segment) -> None:
        raise RuntimeError("oops")

    path = make_video(tmp_path / "clip.mp4")
    with open_source(str(path), "cam", SourceOptions(), tap=PacketTap(listener)) as source:
        assert len(list(source)) == 40
    assert "the listener to the segments of this stream failed" in caplog.text


def test_a_source_that_is_closed_early_ends_its_segment(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=200, gop=100)
    segments: list[Segment] = []
    with open_source(str(path), "cam", SourceOptions(), tap=PacketTap(segments.append)) as source:
        frames = iter(source)
        for _ in range(30):
            next(frames)
    assert len(segments) == 1
    assert 30 <= len(segments[0].times_s) < 100
    assert len(pictures_of(segments)) == len(segments[0].times_s)
