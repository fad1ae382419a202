"""Folders of jobs: what they hold, whose they are, and what becomes of those that nobody can read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from clip_stage import ZONE
from counter_video import make_counter
from segment_reader import segments_of

from groundstream.operators.clips.job import PENDING, JobFolder, left_behind
from groundstream.operators.clips.pieces import Piece
from groundstream.operators.clips.spec import ClipSpec, Span
from groundstream.operators.clips.timeline import Observation, SeenObject
from groundstream.operators.video.segment import Segment

SPEC = ClipSpec("clip", "cam", Span(1.0, 4.0), events=({"id": "e0"},), shapes=(ZONE,), best_s=2.0)
OBSERVATION = Observation(1, 2.0, (SeenObject("cam:1:1", "white van", 0.8, (0.1, 0.2, 0.3, 0.4)),))


@pytest.fixture
def segments(tmp_path: Path) -> list[Segment]:
    make_counter(tmp_path / "in.mp4", seconds=4.0, gop=15)
    return segments_of(tmp_path / "in.mp4")


def filled(folder: Path, segments: list[Segment], name: str = "clip") -> Path:
    """Leave a complete job."""
    with JobFolder.create(folder / PENDING / name) as job:
        for segment in segments:
            job.add_piece(segment)
        job.add_observation(OBSERVATION)
        job.save(SPEC)
    return job.path


def test_what_went_in_comes_out(tmp_path: Path, segments: list[Segment]) -> None:
    path = filled(tmp_path, segments)

    job = JobFolder.take(path)

    assert job is not None
    with job:
        kept = job.read()
    assert (kept.spec, kept.observations) == (SPEC, (OBSERVATION,))
    assert [(piece.start_s, piece.end_s, piece.times_s) for piece in kept.pieces] == [
        (each.start_s, each.end_s, each.times_s) for each in segments
    ]
    assert [piece.path.read_bytes() for piece in kept.pieces] == [each.data for each in segments]


def test_one_at_a_time_has_a_job(tmp_path: Path, segments: list[Segment]) -> None:
    path = filled(tmp_path, segments)
    first = JobFolder.take(path)
    assert first is not None

    assert JobFolder.take(path) is None
    assert left_behind(tmp_path) == ()
    first.release()
    first.release()

    assert left_behind(tmp_path) == (path,)
    assert JobFolder.take(tmp_path / PENDING / "another") is None


def test_a_part_adopts_what_reaches_beyond_the_seam(tmp_path: Path, segments: list[Segment]) -> None:
    with (
        JobFolder.create(tmp_path / PENDING / "clip") as first,
        JobFolder.create(tmp_path / PENDING / "clip.2") as second,
    ):
        for segment in segments:
            first.add_piece(segment)
        second.adopt(first, segments[1].start_s + 0.1)
        second.save(SPEC)
        kept = second.read()
    assert [piece.start_s for piece in kept.pieces] == [each.start_s for each in segments[1:]]
    assert second.pieces == len(segments) - 1


def test_lines_that_were_cut_are_left_out(tmp_path: Path, segments: list[Segment]) -> None:
    path = filled(tmp_path, segments)
    for name in ("pieces.jsonl", "looks.jsonl"):
        text = (path / name).read_text()
        (path / name).write_text(text + text[:20])

    job = JobFolder.take(path)
    assert job is not None
    with job:
        kept = job.read()

    assert (len(kept.pieces), kept.observations) == (len(segments), (OBSERVATION,))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("job.json", None),  # the run died before it knew what the clip is to be
        ("job.json", "{}"),
        ("job.json", '{"cut'),
        ("job.json", json.dumps(SPEC.to_dict() | {"of_another_version": 1})),
        ("pieces.jsonl", '{"path": "000001.mkv", "of_another_version": 1}\n'),
        ("looks.jsonl", '{"of_another_version": 1}\n'),
        ("pieces.jsonl", ""),  # no video
    ],
)
def test_a_job_that_nobody_can_make_is_removed_and_harms_no_other(
    tmp_path: Path, segments: list[Segment], name: str, text: str | None
) -> None:
    path, fine = filled(tmp_path, segments, "a"), filled(tmp_path, segments, "b")
    (path / name).unlink()
    if text is not None:
        (path / name).write_text(text)

    assert left_behind(tmp_path) == (fine,)

    assert not path.exists()


def test_a_folder_without_its_lock_is_removed_as_well(tmp_path: Path) -> None:
    path = tmp_path / PENDING / "clip"
    path.mkdir(parents=True)

    assert left_behind(tmp_path) == ()

    assert not path.exists()


def test_a_job_that_an_earlier_version_left_is_read(tmp_path: Path) -> None:
    path = tmp_path / PENDING / "clip"
    path.mkdir(parents=True)
    (path / "lock").touch()
    (path / "000001.mkv").write_bytes(b"video")
    (path / "job.json").write_text(
        '{"name": "clip", "stream_id": "cam", "span": {"start_s": 1.0, "end_s": 4.0, "open_end": false}, '
        '"part": 1, "events": [{"id": "e0"}], "shapes": [{"name": "gate", "points": '
        '[[0.1, 0.5], [0.5, 0.5], [0.4, 0.95]], "closed": true}], "truncated": null, "best_s": 2.0}'
    )
    (path / "pieces.jsonl").write_text(
        '{"path": "000001.mkv", "epoch": 1, "start_s": 0.0, "end_s": 1.0, "start_wall": 1.7e9, '
        '"times_s": [0.0, 0.5]}\n'
    )
    (path / "looks.jsonl").write_text(
        '{"epoch": 1, "time_s": 2.0, "objects": [["cam:1:1", "white van", 0.8, [0.1, 0.2, 0.3, 0.4], '
        '"confirmed"]]}\n'
    )

    assert left_behind(tmp_path) == (path,)

    job = JobFolder.take(path)
    assert job is not None
    with job:
        kept = job.read()
    piece = Piece(path / "000001.mkv", 1, 0.0, 1.0, 1.7e9, (0.0, 0.5))
    assert (kept.spec, kept.pieces, kept.observations) == (SPEC, (piece,), (OBSERVATION,))


def test_a_line_that_is_cut_within_a_letter_costs_that_line_only(
    tmp_path: Path, segments: list[Segment]
) -> None:
    path = filled(tmp_path, segments)
    cut = '{"epoch": 1, "time_s": 3.0, "objects": [["cam:1:1", "белый фургон'.encode()[:-1]
    with (path / "looks.jsonl").open("ab") as rows:
        rows.write(cut)

    assert left_behind(tmp_path) == (path,)

    job = JobFolder.take(path)
    assert job is not None
    with job:
        assert job.read().observations == (OBSERVATION,)


def test_gathering_needs_nothing_that_only_rendering_needs() -> None:
    code = (
        "import sys; import groundstream.operators.clips.job, groundstream.operators.clips.renderer; "
        "print([name for name in ('cv2', 'supervision') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
