"""Events, clips and recordings of a whole run, against a clip whose truth is known."""

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from coloured import ALL, call, groundstream, make_coloured, records_of, times_of

from groundstream.operators.recording.index_reader import query_tracks, segments_between

RULES = """\
zones:
  right half: {polygon: [[0.5, 0], [1, 0], [1, 1], [0.5, 1]], phrases: [blue bus]}
lines:
  middle: {start: [0.5, 0], end: [0.5, 1], phrases: [red car]}
"""
LENGTH_S, FPS = 8, 10
# The middle of the red box is at half the width where sin(t) = 0: it goes left at pi, right at 2 pi.
CROSSINGS = ((math.pi, "right"), (2 * math.pi, "left"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("events")
    clip = make_coloured(folder / "clip.mp4", LENGTH_S * FPS, fps=FPS)
    rules = folder / "rules.yaml"
    rules.write_text(RULES)
    done = groundstream(
        "run", clip, *ALL, "--model", "fake", "--out", folder / "out", "--rules", rules,
        "--clips", "events", "--pre", 1, "--post", 0.5, "--recording", "--segment", 3,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "out"


def events_of(run: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in records_of(run / "events.jsonl") if event["kind"] == kind]


def test_events_are_what_one_sees(run: Path) -> None:
    told = [event for event in events_of(run, "line_cross") if event["type"] == "new"]

    assert [event["after"]["values"]["direction"] for event in told] == [way for _, way in CROSSINGS]
    assert [event["start_s"] for event in told] == pytest.approx([at for at, _ in CROSSINGS], abs=0.25)
    assert {event["after"]["phrase"] for event in told} == {"red car"}
    assert {event["after"]["phrase"] for event in events_of(run, "zone_enter")} == {"blue bus"}


def test_records_name_the_zones(run: Path) -> None:
    for record in records_of(run / "detections.jsonl")[FPS:]:
        for thing in record["objects"]:
            middle = sum(thing["box_norm"][::2]) / 2
            if thing["phrase"] != "blue bus":
                assert thing["zones"] == []
            elif abs(middle - 0.5) > 0.2:
                assert thing["zones"] == (["right half"] if middle > 0.5 else [])


def test_clips_begin_and_end_exactly_where_asked(run: Path) -> None:
    made = sorted((run / "clips").glob("*.json"))
    source_s = [number / FPS for number in range(LENGTH_S * FPS)]
    assert made
    for path in made:
        facts = json.loads(path.read_text())
        starts = [event["start_s"] for event in facts["events"]]
        ends = [event["end_s"] or event["start_s"] for event in facts["events"]]
        wanted = [s for s in source_s if min(starts) - 1 - 1e-6 <= s <= max(ends) + 0.5 + 1e-6]
        shown = [frame[1] for frame in facts["frames"]]
        assert shown == pytest.approx(wanted)
        assert times_of(path.with_suffix(".mp4")) == pytest.approx([s - wanted[0] for s in wanted], abs=2e-3)
        assert path.with_suffix(".jpg").stat().st_size > 0


def test_every_event_names_its_clip(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "events", run, "--json", "--phrase", "RED car")

    listed = [json.loads(line) for line in done.stdout.splitlines()]
    assert listed
    assert all((run / "clips" / event["clip"]).is_file() for event in listed)
    assert "line_cross right" in call(capsys, "events", run, "--kind", "line_cross").stdout


def test_the_index_knows_every_track(run: Path) -> None:
    seen = {
        thing["track_id"]: thing["phrase"]
        for record in records_of(run / "detections.jsonl")
        for thing in record["objects"]
        if thing["track_id"]
    }
    assert {track.track_id: track.phrase for track in query_tracks(run)} == seen


def test_recorded_files_hold_every_frame(run: Path) -> None:
    files = [each.file for each in segments_between(run)]

    times = [round(file.start_s + time_s, 3) for file in files for time_s in times_of(file.path)]
    assert times == pytest.approx([number / FPS for number in range(LENGTH_S * FPS)], abs=2e-3)


def test_export_cuts_across_recorded_files(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    done = call(capsys, "export", run, "--from", 2.05, "--to", 4.3, "--out", tmp_path)

    path = Path(done.stdout.strip())
    facts = json.loads(path.with_suffix(".json").read_text())
    assert [frame[1] for frame in facts["frames"]] == pytest.approx(
        [n / FPS for n in range(21, 44)], abs=2e-3
    )
    assert facts["phrases"] == ["blue bus", "red car", "white van"]
    assert len(times_of(path)) == 23


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--from", "5", "--to", "4"), "--to must be later than --from"),
        (("--from", "5", "--to", "2026-01-01"), "different clocks"),
        (("--from", "yesterday", "--to", "6"), "expected a time such as"),
        (("--from", "500", "--to", "600"), "nothing was recorded"),
    ],
)
def test_export_says_what_is_wrong(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    done = call(capsys, "export", run, *arguments)

    assert done.returncode != 0
    assert sentence in done.stderr


def test_events_of_a_folder_without_index(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    done = call(capsys, "events", tmp_path)

    assert (done.returncode, "holds no index" in done.stderr) == (2, True)


def test_images_have_events_but_no_clips(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for number in range(12):
        picture = np.full((120, 160, 3), 120, np.uint8)
        picture[20:60, 10 * number : 10 * number + 40] = (25, 25, 230)
        cv2.imwrite(str(tmp_path / f"{number:03}.png"), picture)

    done = call(
        capsys, "run", tmp_path, "--fps", 10, "-q", "red car", "--model", "fake", "--out", tmp_path / "out",
        "--clips", "events",
    )  # fmt: skip

    assert done.returncode == 0
    assert "no clips, no recording: images have no compressed video" in done.stderr
    assert [event["kind"] for event in records_of(tmp_path / "out" / "events.jsonl")][:1] == ["appear"]


def test_clips_need_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    done = call(capsys, "run", "x.mp4", "-q", "a", "--sink", f"jsonl:{tmp_path}/x.jsonl", "--recording")

    assert (done.returncode, "need a folder" in done.stderr) == (2, True)


def test_wrong_rules_name_file_and_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("zones:\n  gate: {polygn: [[0, 0], [1, 0], [1, 1]]}\n")

    done = call(capsys, "run", "x.mp4", "-q", "a", "--rules", rules)

    assert done.returncode == 2
    assert "rules.yaml, line 2" in done.stderr
    assert "did you mean 'polygon'?" in done.stderr


def test_zones_are_drawn_on_a_frame(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    clip, rules, out = make_coloured(tmp_path / "a.mp4", 5), tmp_path / "r.yaml", tmp_path / "z.png"
    rules.write_text(RULES)

    done = call(capsys, "zones", clip, rules, "--out", out)

    assert done.returncode == 0, done.stderr
    drawn = cv2.imread(str(out))
    assert drawn is not None
    assert drawn.shape[:2] == (120, 160)
    yellow = (drawn[..., 0] < 90) & (drawn[..., 1] > 150) & (drawn[..., 2] > 190)
    assert yellow[:, 75:85].any(axis=1).mean() > 0.8  # the line down the middle
