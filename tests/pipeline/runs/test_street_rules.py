"""The rules that ship, on the clip that ships, against what one sees in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from coloured import call, records_of

CONFIGS = Path(__file__).parents[3] / "configs"
#: People who cross from kerb to kerb, by eye: when their feet pass the line, and to which side they go.
SEEN = [(0.9, "left"), (1.7, "right"), (2.7, "left"), (3.4, "right"), (6.4, "left"), (9.8, "left")]


@pytest.mark.slow
def test_crossings_are_those_that_one_sees(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    done = call(
        capsys, "run", CONFIGS / "demo" / "street.mp4", "-q", "person", "--model", "glip-nano", "--out",
        tmp_path, "--rules", CONFIGS / "street-rules.yaml", "--no-video", "--text-cache", "none",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    events = [each for each in records_of(tmp_path / "events.jsonl") if each["type"] == "new"]
    told = [each for each in events if each["kind"] == "line_cross"]
    assert len(told) == len(SEEN)
    for each, (time_s, way) in zip(sorted(told, key=lambda each: each["start_s"]), SEEN, strict=True):
        assert each["start_s"] == pytest.approx(time_s, abs=0.5)
        assert each["after"]["values"]["direction"] == way
    assert {each["kind"] for each in events} == {"line_cross", "zone_enter", "zone_exit", "dwell", "count"}
