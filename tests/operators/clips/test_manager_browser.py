"""Clips play in a browser."""

from pathlib import Path

import pytest
from browser import play
from clip_stage import Happening, Stage
from counter_video import make_counter, read_number

from groundstream.operators.clips.settings import ClipSettings


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["annotated", "raw"])
def test_a_clip_plays_in_a_browser_with_its_length_and_its_pictures(tmp_path: Path, kind: str) -> None:
    make_counter(tmp_path / "in.mp4", gop=30, b_frames=2)
    stage = Stage(tmp_path / "clips", ClipSettings(late_s=3.0, pre_s=2.0, post_s=1.5))
    stage.play(tmp_path / "in.mp4", [Happening(7.0, 9.0)])
    (facts,) = stage.finish()
    starts_s, ends_s = (facts["raw" if kind == "raw" else "got"][name] for name in ("start_s", "end_s"))
    played = play(stage.file(facts, kind), 2.02)
    assert played.duration_s == pytest.approx(ends_s - starts_s + 1 / 15, abs=0.002)
    assert read_number(played.red) == round((starts_s + 2.0) * 15)
