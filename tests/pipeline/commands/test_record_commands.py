"""`groundstream events` and `export` while a run still goes on, by times of day, and of several streams."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from coloured import PHRASES, call, make_coloured, times_of

from groundstream.operators.recording.index_reader import segments_between
from groundstream.pipeline.api import open_pipeline

FPS, LENGTH_S = 10, 12
RULES = {"lines": {"middle": {"start": [0.5, 0], "end": [0.5, 1], "phrases": ["red car"]}}}
Shell = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_coloured(tmp_path_factory.mktemp("commands") / "clip.mp4", LENGTH_S * FPS, fps=FPS)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """The folder of a run of two streams."""
    out = tmp_path_factory.mktemp("two") / "out"
    streams = [{"source": str(clip), "id": name} for name in ("one", "two")]
    with open_pipeline([], PHRASES, streams=streams, executor="local", **recording(out, 3)) as pipeline:
        pipeline.run()
    return out


def recording(out: Path, segment_s: float) -> dict[str, Any]:
    return {
        "model": "fake",
        "text_cache": "none",
        "rules": RULES,
        "clips": {"mode": "none"},
        "recording": {"segment_s": segment_s},
        "output": {"dir": out, "video": False},
    }


@pytest.mark.slow
def test_a_run_that_goes_on_can_be_asked(capsys: Shell, clip: Path, tmp_path: Path) -> None:
    live, early, late = {"source": str(clip), "id": "live", "semantics": "live"}, None, None
    with open_pipeline([], PHRASES, streams=[live], executor="local", **recording(tmp_path, 3)) as pipeline:
        for result in pipeline:
            if result.frame.time_s > 1.5 and early is None:
                early = early_answers(capsys, tmp_path)
            if result.frame.time_s > 7.5:  # the second crossing, at 2 pi, has settled
                late = call(capsys, "export", tmp_path, "--from", 1, "--to", 100, "--out", tmp_path / "cut")
                break

    assert early is not None
    assert late is not None
    assert early.returncode == 5
    assert "still being recorded, wait for its end" in early.stderr
    listed = call(capsys, "events", tmp_path, "--json").stdout.splitlines()
    assert [json.loads(line)["kind"] for line in listed] == ["line_cross", "line_cross"]
    assert late.returncode == 0, late.stderr
    assert "not looked at, because it is still being recorded: " in late.stderr
    assert len(times_of(Path(late.stdout.strip()))) >= 2 * FPS
    check_times_of_day(capsys, tmp_path)


def check_times_of_day(capsys: Shell, out: Path) -> None:
    """Check that a range of times of day gives what was recorded then."""
    file = segments_between(out)[0].file
    start, end = (at(file.start_wall + after_s) for after_s in (1.0, 2.0))

    cut = call(capsys, "export", out, "--from", start, "--to", end, "--out", out / "times")
    nothing = call(capsys, "events", out, "--until", at(file.start_wall - 60))

    facts = json.loads(Path(cut.stdout.strip()).with_suffix(".json").read_text())
    assert facts["got"]["start_s"] == pytest.approx(file.start_s + 1, abs=0.11)
    assert facts["got"]["end_s"] == pytest.approx(file.start_s + 2, abs=0.11)
    assert len(nothing.stdout.splitlines()) == 1


def early_answers(capsys: Shell, out: Path) -> Any:
    assert call(capsys, "events", out).returncode == 0
    return call(capsys, "export", out, "--from", 0, "--to", 1)


@pytest.mark.slow
def test_streams_are_told_apart(capsys: Shell, two: Path) -> None:
    every = call(capsys, "events", two).stdout.splitlines()
    first = call(capsys, "events", two, "--stream", "one").stdout.splitlines()

    assert len(every) - 1 == 2 * (len(first) - 1) > 0
    assert not any("two" in line.split() for line in first)
    cut = call(capsys, "export", two, "--from", 1, "--to", 2, "--stream", "two", "--out", two / "cut")
    (path,) = cut.stdout.split()
    assert json.loads(Path(path).with_suffix(".json").read_text())["stream_id"] == "two"


def at(wall: float) -> str:
    return datetime.fromtimestamp(wall).isoformat()


def test_no_row_of_a_table_is_cut_on_a_narrow_screen(
    capsys: Shell, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")

    head, *rows = call(capsys, "events", two).stdout.splitlines()

    assert "…" not in "".join(rows)
    assert all("line_cross" in row and "red car" in row for row in rows)
    assert "clip" in head
