"""Clips and recordings of whole runs: what is kept, where, and what odd input meets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from coloured import ALL, call, left_of, make_coloured, records_of, times_of

from groundstream.operators.recording.index_reader import query_events, segments_between

FPS, LENGTH_S = 10, 6
CHINESE = "红色 汽车"
EVERYWHERE: dict[str, Any] = {"polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}
LINE = {"lines": {"middle": {"start": [0.5, 0], "end": [0.5, 1], "phrases": ["red car"]}}}
FAKE = ("--model", "fake", "--text-cache", "none", "--no-video")
Shell = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_coloured(tmp_path_factory.mktemp("runs") / "clip.mp4", LENGTH_S * FPS, fps=FPS)


def rules_in(folder: Path, rules: dict[str, Any]) -> Path:
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(rules, allow_unicode=True), encoding="utf-8")
    return path


def run(capsys: Shell, *arguments: object) -> str:
    """Run to a good end; return what was said."""
    done = call(capsys, "run", *FAKE, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stderr


def clips_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((out / "clips").glob("*.json"))]


def events_of(out: Path, kind: str) -> list[dict[str, Any]]:
    return [each for each in records_of(out / "events.jsonl") if each["kind"] == kind]


def test_a_clip_has_every_frame_of_a_source_that_was_seldom_looked_at(
    capsys: Shell, clip: Path, tmp_path: Path
) -> None:
    run(
        capsys, clip, "-q", "red car", "--fps", 2, "--out", tmp_path / "out", "--clips", "events", "--pre", 1,
        "--post", 1, "--rules", rules_in(tmp_path, LINE),
    )  # fmt: skip

    (facts,) = clips_of(tmp_path / "out")
    assert len(records_of(tmp_path / "out" / "detections.jsonl")) == 2 * LENGTH_S
    frames = [frame[1] for frame in facts["frames"]]
    assert len(times_of(tmp_path / "out" / "clips" / facts["files"]["annotated"])) == len(frames)
    assert [round(time_s * FPS) for time_s in frames] == list(
        range(round(frames[0] * FPS), len(frames) + round(frames[0] * FPS))
    )
    (track,) = facts["tracks"]
    assert {box["state"] for box in track["boxes"]} == {"confirmed", "interpolated"}
    for box in track["boxes"]:  # a sine between looks half a second apart is nearly a line
        assert box["box"][0] == pytest.approx(left_of(0, box["time_s"], 160), abs=4)


def test_clips_always_are_a_chain_without_a_break(capsys: Shell, clip: Path, tmp_path: Path) -> None:
    config = {"streams": [str(clip)], "clips": {"mode": "always", "longest_s": 2.5}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))

    run(capsys, "--config", tmp_path / "run.yaml", *ALL, "--out", tmp_path / "out")

    made = sorted(clips_of(tmp_path / "out"), key=lambda facts: facts["part"])
    assert [facts["part"] for facts in made] == [1, 2, 3]
    shown = [round(frame[1] * FPS) for facts in made for frame in facts["frames"]]
    assert shown == list(range(LENGTH_S * FPS))
    assert [facts["truncated"] for facts in made] == [None] * 3


def test_a_small_budget_deletes_the_oldest(capsys: Shell, clip: Path, tmp_path: Path) -> None:
    out, most_bytes = tmp_path / "out", 40_000

    run(
        capsys, clip, *ALL, "--out", out, "--recording", "--segment", 1, "--clips", "events", "--pre", 0.5,
        "--post", 0.5, "--rules", rules_in(tmp_path, LINE), "--keep-gb", most_bytes / 2**30,
    )  # fmt: skip

    kept = [path for folder in ("recording", "clips") for path in (out / folder).iterdir() if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in kept) <= most_bytes
    files = [each.file for each in segments_between(out)]
    assert {file.path for file in files} == set((out / "recording").iterdir())
    assert len(files) < LENGTH_S
    assert all((out / "clips" / each.event.clip).exists() for each in query_events(out) if each.event.clip)


def test_a_second_run_adds_to_the_first(capsys: Shell, clip: Path, tmp_path: Path) -> None:
    out, rules = tmp_path / "out", rules_in(tmp_path, LINE)
    arguments = (clip, *ALL, "--out", out, "--recording", "--clips", "events", "--rules", rules)
    run(capsys, *arguments)
    first = {path: path.read_bytes() for path in (out / "clips").glob("2*")}

    refused = call(capsys, "run", *FAKE, *arguments)
    run(capsys, *arguments, "--overwrite")

    assert refused.returncode == 5
    assert "exists already" in refused.stderr
    assert all(path.read_bytes() == content for path, content in first.items())
    assert len(list((out / "clips").glob("2*"))) == 2 * len(first) > 0
    assert len(query_events(out, kind="line_cross")) == 2 * len(
        [each for each in events_of(out, "line_cross") if each["type"] == "new"]
    )
    assert len(segments_between(out)) == 2


def test_names_of_any_script_and_sign(capsys: Shell, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rules = rules_in(tmp_path, {"zones": {"大门/入口 ..": {**EVERYWHERE, "phrases": [CHINESE]}}})
    # The colour-blob grounder knows a colour by its English name.
    asked = f"{CHINESE} red"
    rules.write_text(rules.read_text(encoding="utf-8").replace(CHINESE, asked), encoding="utf-8")

    run(capsys, clip, "-q", asked, "--out", out, "--rules", rules, "--clips", "events")

    (event,) = query_events(out)
    assert (event.event.rule, event.event.after.phrase) == ("大门/入口 ..", asked)
    assert event.event.clip is not None
    assert "红色-汽车-red" in event.event.clip
    assert (out / "clips" / event.event.clip).is_file()
    listed = call(capsys, "events", out)
    assert "大门/入口" in listed.stdout


@pytest.mark.slow
def test_three_hundred_phrases(capsys: Shell, clip: Path, tmp_path: Path) -> None:
    phrases = tmp_path / "phrases.txt"
    phrases.write_text("\n".join(["red car", *(f"green thing {number}" for number in range(299))]))

    run(
        capsys, clip, "--phrases-file", phrases, "--out", tmp_path / "out", "--rules",
        rules_in(tmp_path, {"zones": {"all": EVERYWHERE}}), "--clips", "events", "--recording",
    )  # fmt: skip

    (facts,) = clips_of(tmp_path / "out")
    assert facts["phrases"] == ["red car"]


@pytest.mark.parametrize("content", ["", None, "- a\n- b\n", "zones: []"], ids=repr)
def test_rules_that_are_none(capsys: Shell, clip: Path, tmp_path: Path, content: str | None) -> None:
    rules = tmp_path / "rules.yaml"
    rules.mkdir() if content is None else rules.write_text(content)

    done = call(capsys, "run", *FAKE, clip, *ALL, "--out", tmp_path / "out", "--rules", rules)

    assert done.returncode == 2
    assert "rules.yaml" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(capsys: Shell, clip: Path) -> None:
    done = call(capsys, "run", *FAKE, clip, *ALL, "--out", "/proc/groundstream", "--recording")

    assert done.returncode == 5
    assert "/proc/groundstream" in done.stderr
    assert "Traceback" not in done.stderr
