"""Runs that are killed (SIGKILL) while they record and make clips: what is left plays, the rest is saved."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from browser import play_all
from coloured import ALL, groundstream, make_coloured, records_of, times_of
from forked_runs import ForkedRuns

from groundstream.operators.recording.index_reader import query_events, segments_between

FPS, LENGTH_S = 10, 30
RULES = """\
zones:
  right half: {polygon: [[0.5, 0], [1, 0], [1, 1], [0.5, 1]], phrases: [blue bus]}
lines:
  middle: {start: [0.5, 0], end: [0.5, 1], phrases: [red car]}
"""
KILLS = int(os.environ.get("GROUNDSTREAM_KILLS", "3"))
#: A second is the group of pictures that was being read, a tenth the fragment; a busy machine is late.
MOST_LOST_S = 1.0 + 0.1 + 1.0

pytestmark = [pytest.mark.server, pytest.mark.slow]


@dataclass
class Museum:
    """What killed runs have left, as it was then."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.exhibits: list[tuple[Path, list[float]]] = []
        self._known = set[tuple[int, int]]()

    def take_in(self, out: Path) -> None:
        """Copy every video that is new since the last time and check that it plays as far as it goes."""
        folders = (out / "recording", out / "clips")  # a clip that is half made is made anew
        for path in sorted(
            path for folder in folders for path in [*folder.glob("*.mp4"), *folder.glob("*.part")]
        ):
            facts = path.stat()
            if (facts.st_ino, facts.st_size) in self._known:
                continue
            self._known.add((facts.st_ino, facts.st_size))
            times_s = probed(path)
            assert times_s or path.suffix == ".part", f"{path} holds no picture"
            if times_s:
                copy = self.folder / f"{len(self.exhibits)}.mp4"
                shutil.copy(path, copy)
                self.exhibits.append((copy, times_s))


def probed(path: Path) -> list[float]:
    """Return the times of a video's pictures as ffprobe decodes them; a file without a head has none."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts_time"]
    done = subprocess.run([*command, "-of", "json", path], capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        assert path.suffix == ".part", f"{path}: {done.stderr}"
        return []
    return [float(frame["pts_time"]) for frame in json.loads(done.stdout).get("frames", [])]


def test_what_killed_runs_leave_plays_and_the_next_start_saves_the_rest(tmp_path: Path) -> None:
    clip = make_coloured(tmp_path / "clip.mp4", LENGTH_S * FPS, fps=FPS)
    (tmp_path / "rules.yaml").write_text(RULES)
    out, log, museum = tmp_path / "out", tmp_path / "said.txt", Museum(tmp_path / "museum")
    arguments = (
        "run", clip, *ALL, "--model", "fake", "--text-cache", "none", "--semantics", "live", "--no-video",
        "--out", out, "--overwrite", "--rules", tmp_path / "rules.yaml", "--clips", "events", "--pre", 1,
        "--post", 1, "--recording", "--segment", 2,
    )  # fmt: skip
    chance = random.Random(os.environ.get("GROUNDSTREAM_SEED"))
    lost_s, left = [], dict[str, int]()
    with ForkedRuns(log) as runs:
        for _ in range(KILLS):
            before = recorded(out)
            begun = partial(lambda before: recorded(out) - before, before)
            assert runs.killed(arguments, begun, chance.uniform(0.0, 12.0)), log.read_text()
            museum.take_in(out)
            lost_s.append(lost(out, recorded(out) - before))
            left |= {part.name.removesuffix(".part"): len(probed(part)) for part in out.rglob("*.mp4.part")}
    print(f"lost: median {sorted(lost_s)[KILLS // 2]:.2f} s, most {max(lost_s):.2f} s")
    assert max(lost_s) <= MOST_LOST_S
    assert "Traceback" not in log.read_text()

    done = groundstream("run", make_coloured(tmp_path / "last.mp4", 10), *arguments[2:], timeout_s=1200)

    assert done.returncode == 0, done.stderr
    assert not [*out.rglob("*.part"), *(out / "clips" / ".pending").glob("*")]
    museum.take_in(out)
    check_index(out, left)
    check_browser(museum.exhibits)


def recorded(out: Path) -> set[str]:
    """Return the names that recordings have or will have."""
    return {path.name.removesuffix(".part") for path in out.rglob("recording/*")}


def lost(out: Path, names: set[str]) -> float:
    """Return how many seconds of what the killed run had read are not in its recordings."""
    read_s = max((record["time_s"] for record in records_of(out / "detections.jsonl")), default=0.0)
    kept: list[float] = []
    for path in sorted((out / "recording").iterdir()):
        if path.name.removesuffix(".part") in names and (times_s := probed(path)):
            kept += [start_of(path) + time_s for time_s in times_s]
    assert [round(time_s * FPS) for time_s in kept] == list(range(len(kept))), "pictures are missing"
    return read_s - (kept[-1] if kept else 0.0)


def start_of(path: Path) -> float:
    """Return the media time at which a recorded file begins, as its comment says."""
    command = ["ffprobe", "-v", "error", "-show_entries", "format_tags=comment", "-of", "json", path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return float(json.loads(json.loads(done.stdout)["format"]["tags"]["comment"])["start_s"])


def check_index(out: Path, left: dict[str, int]) -> None:
    """Check that the index and the files agree, and that saving has lost nothing that was there."""
    files = {each.file.path.name: each.file for each in segments_between(out)}
    assert set(files) == {path.name for path in (out / "recording").iterdir()}
    for name, pictures in left.items():
        if pictures:
            assert len(times_of(files[name].path)) >= pictures
    named = {each.event.clip for each in query_events(out) if each.event.clip}
    assert named
    assert not [name for name in named if not (out / "clips" / name).is_file()]
    assert all(each.end_wall is not None for each in query_events(out))


def check_browser(exhibits: Sequence[tuple[Path, list[float]]]) -> None:
    """Check that Chromium plays every video to its end and shows a picture in its middle."""
    played = play_all([path for path, _ in exhibits], [times_s[len(times_s) // 2] for _, times_s in exhibits])
    for seen, (_, times_s) in zip(played, exhibits, strict=True):
        assert seen.duration_s == pytest.approx(times_s[-1], abs=0.25)
        assert seen.red.std() > 5
