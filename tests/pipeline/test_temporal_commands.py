"""`adapt` and `eval temporal` as a user runs them, and what the tracks of a benchmark are worth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from coloured import groundstream

from groundstream.models.registry import load_grounder
from groundstream.models.temporal import CTA
from groundstream.models.temporal_file import load_adapter
from groundstream.models.training.temporal_clips import Clip, FrameTruth
from groundstream.models.types import Preset, Prompt, RawDetections
from groundstream.pipeline.temporal_tracks import TrackBook

CLIP = Path(__file__).parent.parent.parent / "configs" / "demo" / "street.mp4"


def tracks_of(*scores: float) -> dict[str, float]:
    """Return the numbers of a clip whose moving object is found in every frame, with these scores in turn."""
    boxes = np.array([[(10 + 2 * n, 10, 50 + 2 * n, 60)] for n in range(16)], np.float32)
    one = np.ones(1, np.int64)
    truth = tuple(FrameTruth(box, 0 * one, one, one > 0) for box in boxes)
    clip = Clip("a", np.zeros((16, 128, 192, 3), np.uint8), np.arange(16) * 0.1, truth, "slow")
    book = TrackBook(Prompt.of(["square", "circle"]), Preset(score=0.4, floor=0.2))
    pairs = [(scores[n % len(scores)], 0.0) for n in range(16)] if scores else []
    rows = [np.array([pair], np.float32) for pair in pairs] or [np.zeros((0, 2), np.float32)] * 16
    answers = [RawDetections(box[: len(row)], row) for box, row in zip(boxes, rows, strict=True)]
    book.add(clip, answers)
    return book.numbers()


def test_a_steady_object_is_one_track_of_a_steady_score() -> None:
    numbers = tracks_of(0.8)
    assert numbers["HOTA"] > 80
    assert numbers["IDF1"] > 80
    assert numbers["switches"] == 0
    assert numbers["record change"] == pytest.approx(0, abs=1e-4)


def test_a_score_that_flickers_is_seen_in_the_records_but_smoothed() -> None:
    change = tracks_of(0.9, 0.5)["record change"]
    assert 0.5 < change < 30  # from frame to frame the answers change by 40 hundredths


def test_what_is_never_found_has_no_track() -> None:
    numbers = tracks_of()
    assert numbers["HOTA"] == 0
    assert numbers["record change"] == 0


@pytest.mark.slow
def test_eval_prints_and_writes_what_a_memory_is_worth(tmp_path: Path) -> None:
    done = groundstream("eval", "temporal", CLIP, "--clips", "1", "--start", "2", "--out", tmp_path / "table")
    assert done.returncode == 0, done.stderr
    assert "gain on spoiled" in done.stdout
    numbers = json.loads((tmp_path / "table" / "temporal.json").read_text())
    table = numbers["real"]["table"]
    assert set(table) == {"none", "ema", "score ema", "cta"}
    assert table["none"]["clean"] == pytest.approx(100)
    assert {"spoiled", "HOTA", "ghosts", "score change", "record change"} <= set(table["cta"])
    assert (tmp_path / "table" / "temporal.png").stat().st_size > 1000


@pytest.mark.slow
def test_adapt_saves_an_adapter_that_the_model_takes(tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    done = groundstream("adapt", CLIP, "--out", out, "--steps", "2", "-q", "person", "-q", "car")
    assert done.returncode == 0, done.stderr
    assert "use it with --adapter FILE" in done.stdout
    assert isinstance(load_adapter(str(out), load_grounder("glip-nano", device="cpu")), CTA)
    again = groundstream("adapt", CLIP, "--out", out, "--steps", "2")
    assert again.returncode == 5
    assert "exists already" in again.stderr


@pytest.mark.slow
def test_adapt_keeps_no_adapter_whose_gain_cannot_be_measured(tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    done = groundstream("adapt", CLIP, "--out", out, "--steps", "1", "-q", "zebra")
    assert done.returncode == 8
    assert "the adapter is not saved" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "options", "code", "message"),
    [
        ("missing.mp4", (), 3, "does not exist"),
        ("text.mp4", (), 3, "cannot be read as a video"),
        ("street.mp4", ("--steps", "0"), 2, "expected at least one step"),
        ("street.mp4", ("--model", "fake"), 4, "no features that an adapter could work on"),
    ],
)
def test_adapt_says_what_is_wrong(
    tmp_path: Path, name: str, options: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    shutil.copy(CLIP, tmp_path / "street.mp4")
    done = groundstream("adapt", tmp_path / name, "--out", tmp_path / "out.safetensors", *options)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split())
