"""Clips cut out of what was recorded, after the fact."""

from pathlib import Path

import av
import pytest
from clip_stage import ZONE, expected, found, times
from counter_video import UNEVEN_MS, make_counter, numbers
from segment_reader import segments_of

from groundstream.operators.clips.pieces import Piece, store
from groundstream.operators.clips.render import render_span
from groundstream.operators.clips.spec import ClipFiles, ClipSpec, Span
from groundstream.operators.clips.timeline import Observation, observation_of
from groundstream.operators.errors import OutputError
from groundstream.operators.recording.files import RecordedFile
from groundstream.operators.recording.writer import RecordingWriter
from groundstream.operators.sources import SourceOptions, open_source
from groundstream.operators.video.tap import PacketTap


def recorded(path: Path, folder: Path) -> tuple[list[Piece], list[Observation], list[float]]:
    """Record a file in files of 4 s; return them, what was seen, and the times of the pictures."""
    files = list[RecordedFile]()
    recording = RecordingWriter(folder, 4.0, on_file=files.append, on_change=print, reserve_bytes=0)
    observations, times_s = list[Observation | None](), list[float]()
    options = SourceOptions(semantics="file")
    with open_source(str(path), "cam", options, tap=PacketTap(recording.add)) as source:
        for frame in source:
            times_s.append(frame.time_s)
            if frame.seq % 5 == 0:
                observations.append(observation_of(found(frame)))
    recording.close()
    pieces = [Piece(file.path, file.epoch, file.start_s, file.end_s, file.start_wall) for file in files]
    return pieces, [observation for observation in observations if observation is not None], times_s


def spec(name: str, start_s: float, end_s: float) -> ClipSpec:
    return ClipSpec(name, "cam", Span(start_s, end_s), shapes=(ZONE,))


@pytest.mark.parametrize(
    ("how", "suffix"),
    [
        ({"gop": 20, "b_frames": 2}, ".mp4"),
        ({"gop": 20, "times_ms": UNEVEN_MS}, ".mp4"),
        ({"gop": 20, "b_frames": 3, "codec": "libx265"}, ".mp4"),
        ({"codec": "mjpeg"}, ".avi"),
    ],
    ids=["b-frames", "uneven", "open groups", "mjpeg"],
)
def test_any_range_of_a_recording_is_cut_exactly(tmp_path: Path, how: dict[str, object], suffix: str) -> None:
    make_counter(tmp_path / f"in{suffix}", **how)  # type: ignore[arg-type]
    pieces, observations, times_s = recorded(tmp_path / f"in{suffix}", tmp_path / "recording")
    assert len(pieces) > 3
    clips = render_span(pieces, observations, spec("export", 2.7, 11.31), tmp_path)
    (clip,) = clips
    wanted = expected(times_s, 2.7, 11.31)
    assert numbers(clip.annotated) == wanted
    assert clip.start_s == pytest.approx(times_s[wanted[0]], abs=6e-4)  # Matroska counts in ms
    assert times(clip.annotated)[-1] == pytest.approx(times_s[wanted[-1]] - times_s[wanted[0]], abs=1.1e-3)
    assert set(wanted) <= set(numbers(clip.raw))
    assert sorted(path.name for path in tmp_path.glob("export.*")) == [
        *("export.jpg", "export.json", "export.mp4"),
        clip.raw.name,
    ]
    assert not list((tmp_path / ".pending").iterdir())


def simple(tmp_path: Path) -> list[Piece]:
    make_counter(tmp_path / "in.mp4", seconds=6.0, gop=15)
    segments = segments_of(tmp_path / "in.mp4")
    return [store(each, tmp_path / f"{number}.mkv") for number, each in enumerate(segments)]


def test_pieces_in_any_order_and_twice_give_each_picture_once(tmp_path: Path) -> None:
    pieces = simple(tmp_path)
    (clip,) = render_span([*pieces[::-1], *pieces], [], spec("clip", 1.0, 4.0), tmp_path / "clips")
    assert numbers(clip.annotated) == list(range(15, 61))
    assert numbers(clip.raw) == list(range(15, 61))


def test_a_range_without_pictures_gives_no_clip_and_no_file(tmp_path: Path) -> None:
    pieces = simple(tmp_path)
    assert render_span(pieces, [], spec("clip", 50.0, 60.0), tmp_path / "clips") == ()
    assert render_span(pieces, [], spec("clip", 1.01, 1.02), tmp_path / "clips") == ()
    assert render_span([], [], spec("clip", 1.0, 2.0), tmp_path / "clips") == ()
    assert not [path for path in (tmp_path / "clips").rglob("*") if path.is_file()]


def test_pieces_of_two_epochs_are_refused(tmp_path: Path) -> None:
    first, second, *_ = simple(tmp_path)
    other = Piece(second.path, 2, second.start_s, second.end_s, second.start_wall, second.times_s)
    with pytest.raises(ValueError, match="one epoch"):
        render_span([first, other], [], spec("clip", 0.0, 2.0), tmp_path / "clips")


def test_an_export_never_overwrites(tmp_path: Path) -> None:
    pieces = simple(tmp_path)
    (clip,) = render_span(pieces, [], spec("clip", 1.0, 2.0), tmp_path / "clips")
    before = clip.annotated.read_bytes()
    with pytest.raises(OutputError, match="never overwritten"):
        render_span(pieces, [], spec("clip", 2.0, 3.0), tmp_path / "clips")
    assert clip.annotated.read_bytes() == before


def test_a_raw_clip_is_not_encoded_again(tmp_path: Path) -> None:
    pieces = simple(tmp_path)
    (clip,) = render_span(pieces, [], spec("clip", 1.0, 3.0), tmp_path / "clips")
    assert isinstance(clip, ClipFiles)
    assert payloads(clip.raw) == payloads(tmp_path / "in.mp4")[15:46]


def payloads(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]
