"""Clips of events in real files, from the packet to the finished MP4."""

from pathlib import Path

import numpy as np
import pytest
from clip_stage import Happening, Stage, expected, times
from counter_video import UNEVEN_MS, make_counter, numbers

from groundstream.operators.clips.settings import ClipSettings


def settings(**changes: float | str) -> ClipSettings:
    return ClipSettings(**{"late_s": 3.0, "pre_s": 2.0, "post_s": 1.5} | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "suffix"),
    [
        ({"gop": 10}, ".mp4"),
        ({"gop": 30, "b_frames": 3}, ".mp4"),
        ({"gop": 150}, ".mp4"),  # key frames 10 s apart
        ({"times_ms": UNEVEN_MS, "gop": 20}, ".mp4"),
        ({"codec": "libx265", "gop": 25, "b_frames": 3}, ".mp4"),  # open groups of pictures
        ({"codec": "mpeg4", "gop": 12, "b_frames": 2}, ".avi"),
        ({"codec": "mjpeg"}, ".avi"),
        ({"gop": 30, "b_frames": 2}, ".ts"),
    ],
    ids=lambda value: "-".join(map(str, list(value.values())[:1])) if isinstance(value, dict) else value,
)
def test_a_clip_has_exactly_the_pictures_that_were_asked_for(
    tmp_path: Path, how: dict[str, object], suffix: str
) -> None:
    make_counter(tmp_path / f"in{suffix}", **how)  # type: ignore[arg-type]
    stage = Stage(tmp_path / "clips", settings())
    stage.play(tmp_path / f"in{suffix}", [Happening(7.31, 9.02)], look_every=3)
    (facts,) = stage.finish()
    given = stage.times[1]
    wanted = expected(given, 7.31 - 2, 9.02 + 1.5)
    assert numbers(stage.file(facts, "annotated")) == wanted
    shown = times(stage.file(facts, "annotated"))
    assert shown[0] == 0
    assert np.diff(shown) == pytest.approx(np.diff([given[n] for n in wanted]), abs=1e-4)
    assert facts["truncated"] is None
    assert [e["id"] for e in facts["events"]] == ["e0"]
    assert stage.names == {"e0": facts["files"]["annotated"]}
    raw = numbers(stage.file(facts, "raw"))
    assert raw[0] <= wanted[0]
    assert raw[: raw.index(wanted[-1]) + 1] == list(range(raw[0], wanted[-1] + 1))
    assert facts["raw"]["start_s"] == pytest.approx(given[raw[0]], abs=1e-6)
    assert not stage.problems
    assert not list((tmp_path / "clips" / ".pending").iterdir())


@pytest.mark.parametrize(
    ("codec", "options", "suffix"),
    [
        ("libsvtav1", {"svtav1-params": "keyint=15"}, ".raw.mp4"),
        ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, ".raw.mp4"),
        ("libvpx", {"deadline": "realtime", "cpu-used": "8"}, ".raw.mkv"),
    ],
)
def test_codecs_whose_decoder_is_no_encoder(
    tmp_path: Path, codec: str, options: dict[str, str], suffix: str
) -> None:
    make_counter(tmp_path / "in.mkv", seconds=8.0, gop=15, codec=codec, options=options)
    stage = Stage(tmp_path / "clips", settings())
    stage.play(tmp_path / "in.mkv", [Happening(4.0, 5.0)])
    (facts,) = stage.finish()
    wanted = expected(stage.times[1], 2.0, 6.5)
    assert facts["files"]["raw"].endswith(suffix)
    assert numbers(stage.file(facts, "annotated")) == wanted
    assert set(wanted) <= set(numbers(stage.file(facts, "raw")))


def play(tmp_path: Path, happenings: list[Happening], seconds: float = 30.0, **changes: float | str) -> Stage:
    make_counter(tmp_path / "in.mp4", seconds=seconds, gop=20, b_frames=2)
    stage = Stage(tmp_path / "clips", settings(**changes))
    stage.play(tmp_path / "in.mp4", happenings, look_every=2)
    return stage


@pytest.mark.parametrize(
    ("happenings", "spans"),
    [
        ([(5, 6), (7, 8)], [(3, 9.5)]),  # the clips overlap
        ([(5, 6), (9.5, 10)], [(3, 11.5)]),  # touch: 6 + 1.5 = 9.5 - 2
        ([(5, 6), (9.6, 10)], [(3, 7.5), (7.6, 11.5)]),
        ([(5, 12), (7, 8)], [(3, 13.5)]),  # one within the other
        ([(10 + n / 25, 12 - n / 25) for n in range(50)], [(8, 13.5)]),  # 50 at once
        ([(5, 6), (20, 20)], [(3, 7.5), (18, 21.5)]),
    ],
)
def test_events_whose_clips_overlap_make_one_clip(
    tmp_path: Path, happenings: list[tuple[float, float]], spans: list[tuple[float, float]]
) -> None:
    stage = play(tmp_path, [Happening(*each) for each in happenings])
    clips = stage.finish()
    got = [numbers(stage.file(facts, "annotated")) for facts in clips]
    assert got == [expected(stage.times[1], *span) for span in spans]
    assert sum(len(facts["events"]) for facts in clips) == len(happenings)
    assert all(facts["truncated"] is None for facts in clips)


def test_an_event_that_is_told_late_begins_its_clip_in_time_and_draws_out_an_open_one(tmp_path: Path) -> None:
    stage = play(
        tmp_path, [Happening(9.0, 12.0), Happening(8.0, 8.5, late_s=1.5), Happening(22, 23, late_s=3)]
    )
    got = [numbers(stage.file(facts, "annotated")) for facts in stage.finish()]
    assert got == [expected(stage.times[1], 6.0, 13.5), expected(stage.times[1], 20.0, 24.5)]


def test_a_long_event_goes_on_in_parts_without_losing_a_picture_at_the_seam(tmp_path: Path) -> None:
    stage = play(tmp_path, [Happening(5.0, 22.0), Happening(20.0, 21.0)], longest_s=7.0)
    clips = stage.finish()
    got = [number for facts in clips for number in numbers(stage.file(facts, "annotated"))]
    assert got == expected(stage.times[1], 3.0, 23.5)
    assert [facts["part"] for facts in clips] == [1, 2, 3]
    assert [facts["got"]["start_s"] for facts in clips] == pytest.approx([3.0, 10.0, 17.0])
    assert [[event["id"] for event in facts["events"]] for facts in clips] == [["e0"], ["e0"], ["e0", "e1"]]
    names = [facts["files"]["annotated"].removesuffix(".mp4") for facts in clips]
    assert names == [names[0], f"{names[0]}.2", f"{names[0]}.3"]
    assert {stage.names["e0"], stage.names["e1"]} == {
        clips[0]["files"]["annotated"],
        clips[2]["files"]["annotated"],
    }


def test_always_is_one_chain_with_every_picture_once(tmp_path: Path) -> None:
    stage = play(tmp_path, [Happening(5.0, 6.0)], seconds=20.0, mode="always", longest_s=6.0)
    clips = stage.finish()
    got = [number for facts in clips for number in numbers(stage.file(facts, "annotated"))]
    assert got == list(range(300))
    assert [facts["truncated"] for facts in clips] == [None] * 4
    assert [len(facts["events"]) for facts in clips] == [1, 1, 0, 0]


def test_a_chain_that_an_event_began_has_the_first_pictures_too(tmp_path: Path) -> None:
    make_counter(tmp_path / "in.mp4", seconds=20.0, gop=150)
    stage = Stage(tmp_path / "clips", settings(mode="always"))
    stage.play(tmp_path / "in.mp4", [Happening(5.0, 6.0)])  # long before the first segment is complete
    (facts,) = stage.finish()
    assert numbers(stage.file(facts, "annotated")) == list(range(300))


def test_an_event_before_the_start_and_one_at_the_end_get_what_there_is(tmp_path: Path) -> None:
    stage = play(tmp_path, [Happening(0.5, 1.0), Happening(28.0, 29.5)])
    first, last = stage.finish()
    assert numbers(stage.file(first, "annotated")) == expected(stage.times[1], 0, 2.5)
    assert first["truncated"] is None
    assert numbers(stage.file(last, "annotated")) == expected(stage.times[1], 26.0, 31.0)
    assert last["truncated"] == "the stream ended"


def test_a_stream_that_fails_or_is_removed_during_an_event_cuts_the_clip(tmp_path: Path) -> None:
    make_counter(tmp_path / "in.mp4", gop=20)
    stage = Stage(tmp_path / "clips", settings())
    stage.play(tmp_path / "in.mp4", [Happening(5.0, 18.0)], until=lambda frame: frame.time_s > 10)
    (facts,) = stage.finish("the stream was removed")
    got = numbers(stage.file(facts, "annotated"))
    assert got == list(range(got[0], got[-1] + 1))
    assert got[0] == 45
    assert got[-1] >= 10 * 15 - 20  # but for the group of pictures that was open
    assert facts["truncated"] == "the stream was removed"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "sometimes"}, "events or always"),
        ({"pre_s": -1.0}, "at least 0"),
        ({"longest_s": 0.5}, "at least 1 second"),
    ],
)
def test_settings_are_checked(changes: dict[str, float | str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings(**changes)
