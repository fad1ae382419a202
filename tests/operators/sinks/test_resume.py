from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from clip_maker import make_clip
from result_factory import result

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.frames import FrameResult, Position
from groundstream.operators.sinks import open_sink
from groundstream.operators.sinks.resume import (
    NOTHING,
    ExistingOutput,
    Resume,
    existing_output,
    existing_video,
    first_track,
    lines_backwards,
    resume_position,
    whole_bytes,
)
from groundstream.operators.sinks.video import VideoSink
from groundstream.operators.sources import Source, SourceOptions, open_source
from groundstream.operators.tracking import Tracker

RESULTS = [result(seq % 4, seq=seq) for seq in range(12)]


def write(url: str, results: Sequence[FrameResult], keep_bytes: int = 0) -> None:
    sink = open_sink(url, "cam", keep_bytes)
    for each in results:
        sink.write(each)
    sink.close()


def grown(kind: str, path: Path) -> Path:
    """Return the file that grows while the stream runs."""
    return path.with_name(f"{path.name}.part") if kind == "coco" else path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "mot", "coco"])
def test_a_file_that_was_cut_anywhere_grows_on_to_what_it_would_have_been(kind: str, tmp_path: Path) -> None:
    part = grown(kind, tmp_path / "whole")
    sink = open_sink(f"{kind}:{tmp_path}/whole", "cam")
    for each in RESULTS:
        sink.write(each)
    whole = part.read_bytes()
    sink.close()
    cuts = random.Random(1).sample(range(len(whole)), 60)
    for cut in (0, 1, len(whole) - 1, len(whole), *cuts):
        path = tmp_path / f"cut{cut}"
        grown(kind, path).write_bytes(whole[:cut])
        kept = existing_output(kind, path, live=False)
        sink = open_sink(f"{kind}:{path}", "cam", kept.size_bytes)
        for each in RESULTS[kept.seq + 1 :]:
            sink.write(each)
        assert grown(kind, path).read_bytes() == whole, cut
        sink.close()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "coco"])
def test_the_last_frame_is_known_with_its_time(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    grown(kind, path).touch()
    assert existing_output(kind, path, live=False) == NOTHING
    sink = open_sink(f"{kind}:{path}", "cam")
    for each in RESULTS:
        sink.write(each)
    kept = existing_output(kind, path, live=True)
    assert (kept.seq, kept.epoch) == (11, 1)
    assert kept.time_s == pytest.approx(11 / 30, abs=1e-6)
    again = existing_output(kind, path, live=False)
    assert again.seq == (11 if kind == "jsonl" else 10)
    sink.close()


def test_events_between_the_records_are_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    write(f"jsonl:{path}", RESULTS[:3])
    with path.open("a") as file:
        file.write(json.dumps({"schema": "groundstream.event/1"}) + "\n" + '{"schema": "groundstr')
    kept = existing_output("jsonl", path, live=False)
    assert kept.seq == 2
    assert path.read_bytes()[: kept.size_bytes].endswith(b'event/1"}\n')


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 200_000])
def test_lines_come_backwards_whatever_their_length(tmp_path: Path, size: int) -> None:
    lines = [b"first", b"x" * size, b"", b"last"]
    path = tmp_path / "lines"
    path.write_bytes(b"\n".join(lines) + b"\ncut")
    found = list(lines_backwards(path))
    assert [line for _, line in found] == lines[::-1]
    data = path.read_bytes()
    assert all(data[offset : offset + len(line)] == line for offset, line in found)
    assert whole_bytes(path) == len(data) - 3
    path.write_bytes(b"y" * size)
    assert list(lines_backwards(path)) == []
    assert whole_bytes(path) == 0


def resume(seq: int | None, *, delivered: int | None = None, live: bool = False, epoch: int = 1) -> Resume:
    last = None if seq is None else Position(epoch, seq, seq / 10, tracks=7)
    return Resume(last, delivered, live, has_end=True)


@pytest.mark.parametrize(
    ("known", "kept", "after"),
    [
        (resume(9), [], 9),  # nothing but what was told
        (resume(9), [ExistingOutput(7, 0.7), ExistingOutput(5, 0.5)], 5),  # what is furthest behind decides
        (resume(9, delivered=3), [ExistingOutput(7, 0.7), ExistingOutput(3, 0.3)], 3),
        (resume(9), [ExistingOutput(7, 0.7), ExistingOutput(-1)], None),  # one output holds nothing
        (resume(9), [ExistingOutput(4)], None),  # nobody knows the time of frame 4
        (resume(4), [ExistingOutput(4)], 4),
        (resume(None), [], None),
    ],
)
def test_a_file_goes_on_where_everyone_has_everything(
    known: Resume, kept: list[ExistingOutput], after: int | None
) -> None:
    position = resume_position(known, kept, None)
    assert (None if position is None else position.seq) == after


def test_the_time_of_a_frame_is_looked_up_in_the_records(tmp_path: Path) -> None:
    path = tmp_path / "detections.jsonl"
    write(f"jsonl:{path}", RESULTS)
    position = resume_position(resume(20), [ExistingOutput(11, 11 / 30), ExistingOutput(6)], path)
    assert position is not None
    assert (position.seq, position.time_s) == (6, 0.2)


def test_a_camera_goes_on_after_the_newest_that_anybody_knows() -> None:
    position = resume_position(
        resume(20, live=True, epoch=2), [ExistingOutput(31, 1.5, epoch=3), ExistingOutput(7, 0.7)], None
    )
    assert position is not None
    assert (position.epoch, position.seq) == (3, 31)


def test_track_numbers_do_not_come_again() -> None:
    assert [first_track(each) for each in (None, resume(None), resume(3))] == [1, 1, 1001]
    tracker = Tracker("bytetrack", start_score=0.5, first_id=1001)
    import numpy as np

    box, score = np.array([[10, 10, 50, 50]], np.float32), np.array([0.9], np.float32)
    ids = [tracker.update(box, score, n / 10).ids.tolist() for n in range(4)]
    assert ids[-1] == [1001]
    tracker.reset()
    ids = [tracker.update(box, score, n / 10).ids.tolist() for n in range(4)]
    assert ids[-1] == [1]


def test_a_video_says_how_many_frames_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "annotated.mp4"
    assert existing_video(path) == ExistingOutput(-1, parts=0)
    for parts, frames in ((0, 40), (1, 25)):
        sink = VideoSink(path, parts)
        for seq in range(frames):
            sink.write(result(1, seq=seq))
        sink.close()
    assert existing_video(path) == ExistingOutput(64, parts=2)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert 24 < existing_video(path).seq < 64


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=45, fps=15)


def opened(clip: Path, start_s: float | None = None) -> Source:
    return open_source(str(clip), "clip", SourceOptions(start_s=start_s))


@pytest.mark.parametrize("seq", [0, 1, 17, 43, 44])
def test_a_file_is_read_on_without_a_gap_and_without_a_repetition(clip: Path, seq: int) -> None:
    with opened(clip) as source:
        everything = [(frame.seq, frame.time_s) for frame in source]
    time_s = round(everything[seq][1], 6)
    with opened(clip, start_s=time_s) as source:
        source.resume_after(Position(1, seq, time_s))
        rest = [(frame.seq, frame.time_s) for frame in source]
    assert rest == everything[seq + 1 :]


def test_an_error_of_a_source_crosses_to_another_process() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(SourceError("no such file", Reason.NOT_FOUND)))
    assert (str(error), error.reason) == ("no such file", Reason.NOT_FOUND)
