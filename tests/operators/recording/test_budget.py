"""The oldest finished files go, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from groundstream.operators.recording.budget import Deleted, DiskBudget, StreamFolders
from groundstream.operators.recording.files import RecordedFile
from groundstream.operators.recording.index import INDEX, IndexedClip, IndexWriter
from groundstream.operators.recording.index_reader import segments_between

NOW = time.time()


def put(path: Path, size: int, age_s: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (NOW - age_s, NOW - age_s))
    return path


def folders(folder: Path, index: IndexWriter | None = None) -> StreamFolders:
    return StreamFolders(folder / "recordings", folder / "clips", index)


def put_recordings(folder: Path, count: int) -> list[Path]:
    """Make recordings of 1000 bytes, the first one the oldest, 1000 seconds apart."""
    return [
        put(folder / "recordings" / f"20260101T00000{number}.000Z.mp4", 1000, 1000.0 * (count - number))
        for number in range(count)
    ]


def put_clip(folder: Path, stem: str, age_s: float) -> list[Path]:
    """Make the four files of a clip, 1000 bytes together."""
    sizes = {".mp4": 500, ".raw.mp4": 300, ".json": 150, ".jpg": 50}
    return [put(folder / "clips" / f"{stem}{suffix}", size, age_s) for suffix, size in sizes.items()]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({}, 5),
        ({"most_bytes": 5000}, 5),
        ({"most_bytes": 4999}, 4),
        ({"most_bytes": 2500}, 2),
        ({"most_bytes": 0}, 0),
        ({"most_age_s": 2500.0}, 2),
        ({"most_age_s": 1e5}, 5),
        ({"most_bytes": 3000, "most_age_s": 1500.0}, 1),
    ],
)
def test_the_oldest_go(tmp_path: Path, limits: dict[str, float], kept: int) -> None:
    files = put_recordings(tmp_path, 5)
    budget = DiskBudget([folders(tmp_path)], **limits)  # type: ignore[arg-type]
    assert budget.enforce() == Deleted(files=5 - kept, bytes=1000 * (5 - kept))
    assert left(tmp_path) == [path.name for path in files[5 - kept :]]
    assert budget.enforce() == Deleted(0, 0)


def test_a_clip_goes_as_a_whole(tmp_path: Path) -> None:
    old = put_clip(tmp_path, "20260101T000000.000Z-appear-white-van-1a2b3c4d", 100.0)
    part = put_clip(tmp_path, "20260101T000000.000Z-appear-white-van-1a2b3c4d.2", 90.0)
    new = put_clip(tmp_path, "20260101T000001.000Z-count-00000000", 10.0)
    assert DiskBudget([folders(tmp_path)], most_bytes=2000).enforce() == Deleted(4, 1000)
    assert left(tmp_path) == sorted(path.name for path in [*part, *new])
    assert not any(path.exists() for path in old)


def test_streams_count_together(tmp_path: Path) -> None:
    put_recordings(tmp_path / "a", 3)
    put_clip(tmp_path / "b", "20260101T000000.000Z-appear-00000000", 1e5)
    DiskBudget([folders(tmp_path / "a"), folders(tmp_path / "b")], most_bytes=3000).enforce()
    assert left(tmp_path / "b") == []
    assert len(left(tmp_path / "a")) == 3


def test_what_is_being_written_and_what_others_made_stays(tmp_path: Path) -> None:
    names = [
        "recordings/20260101T000000.000Z.mp4.part",
        "recordings/holiday.mp4",
        "recordings/20260101T000000.000Z.mp4.part.salvage",
        "recordings/index.sqlite",
        "clips/.pending/20260101T000000.000Z-appear-1/job.json",
        # A clip whose facts are missing is not finished.
        "clips/20260101T000000.000Z-appear-00000000.mp4",
        "clips/wedding.mp4",
        "clips/wedding.json",
        "20260101T000000.000Z.mp4",
    ]
    for name in names:
        put(tmp_path / name, 1000, 1e6)
    (tmp_path / "elsewhere").mkdir()
    outside = put(tmp_path / "elsewhere" / "video.mp4", 1000, 1e6)
    (tmp_path / "recordings" / "20260101T000009.000Z.mp4").symlink_to(outside)
    assert DiskBudget([folders(tmp_path)], most_bytes=0, most_age_s=0.0).enforce() == Deleted(0, 0)
    assert outside.exists()


def test_the_index_follows(tmp_path: Path) -> None:
    index = IndexWriter(tmp_path / INDEX, "cam", keep_observations=True)
    files = put_recordings(tmp_path, 2)
    clip = put_clip(tmp_path, "20260101T000000.000Z-appear-00000000", 1.0)
    for number, path in enumerate(files):
        index.add_file(RecordedFile(path, "cam", 1, 10.0 * number, 10.0 * number + 10, NOW, 1000))
    index.add_clip(IndexedClip(clip[0], 1, 0.0, 5.0, NOW, NOW + 5, ()))
    DiskBudget([folders(tmp_path, index)], most_bytes=2000).enforce()
    index.close()
    assert [recording.file.path for recording in segments_between(tmp_path)] == files[1:]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert DiskBudget([folders(tmp_path / "nowhere")], most_bytes=0).enforce() == Deleted(0, 0)


@pytest.mark.parametrize("limits", [{"most_bytes": -1}, {"most_age_s": -1.0}])
def test_nonsense_is_refused(tmp_path: Path, limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected limits of 0 or more"):
        DiskBudget([folders(tmp_path)], **limits)  # type: ignore[arg-type]
