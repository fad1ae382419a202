"""Folders, globs and single images as sources."""

from __future__ import annotations

from pathlib import Path

import pytest
from clip_maker import make_image
from PIL import Image

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.frames import Frame
from groundstream.operators.sources import Source, SourceOptions, open_source


def opened(uri: Path | str, **options: object) -> Source:
    return open_source(str(uri), "s", SourceOptions(**options))  # type: ignore[arg-type]


def read(uri: Path | str, **options: object) -> tuple[list[Frame], Source]:
    with opened(uri, **options) as source:
        return list(source), source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("shot1.png", "shot2.jpg", "shot10.bmp", "Shot3.PNG")):
        make_image(tmp_path / name, width=40 + 10 * number)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_natural_order_and_changing_sizes(folder: Path) -> None:
    frames, source = read(folder)
    assert [frame.width for frame in frames] == [40, 50, 70, 60]
    assert [frame.time_s for frame in frames] == [0.0, 1.0, 2.0, 3.0]
    assert source.semantics == "file"
    assert source.info is not None
    assert (source.info.duration_s, source.info.frame_count, source.info.fps) == (4.0, 4, 1.0)


def test_fps_is_the_pace_of_the_images(folder: Path) -> None:
    frames, _ = read(folder, fps=25)
    assert [frame.time_s for frame in frames] == pytest.approx([0.0, 0.04, 0.08, 0.12])


def test_start_and_end(folder: Path) -> None:
    frames, _ = read(folder, start_s=1.0, end_s=3.0)
    assert [frame.width for frame in frames] == [50, 70]
    with pytest.raises(SourceError, match=r"ends at 3.0 s, but the start asked for is 9.0 s"):
        opened(folder, start_s=9.0)


@pytest.mark.parametrize(
    ("pattern", "count"), [("*.png", 1), ("shot*", 3), ("[sS]hot3.*", 1), ("shot2.jpg", 1)]
)
def test_globs_and_single_images(folder: Path, pattern: str, count: int) -> None:
    assert len(read(folder / pattern)[0]) == count


def test_unreadable_images_are_skipped_and_counted(folder: Path) -> None:
    (folder / "shot1.png").write_bytes(b"")
    (folder / "shot2.jpg").write_text("no image")
    frames, source = read(folder)
    assert [frame.time_s for frame in frames] == [2.0, 3.0]
    assert source.counters.frames_dropped == {"unreadable_image": 2}
    assert dict(frames[0].dropped) == {"unreadable_image": 2}


def test_when_no_image_can_be_read(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no image")
    with pytest.raises(SourceError, match="none of the 2 images can be read") as caught:
        opened(tmp_path)
    assert caught.value.reason is Reason.DECODE
    with pytest.raises(SourceError, match=r"a.png: this is not a video"):
        opened(tmp_path / "a.png")


def test_orientation_of_photographs(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / "phone.jpg", exif=exif)
    frames, _ = read(tmp_path / "phone.jpg")
    assert (frames[0].width, frames[0].height) == (40, 60)


def test_a_folder_of_videos_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"no images \(1 other files found\); name a video file"):
        opened(tmp_path)
