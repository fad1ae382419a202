"""The command on a cluster that is joined: its token, its death, its limits."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from coloured import ALL, command, make_coloured, records_of
from ports import free_port
from ray_cluster import RayNodes
from ray_runs import KILLS, check_whole, frames_in, wait_until

FRAMES = 600
TOKEN = "s3cr3t-t0ken-" * 3
SECONDS_AWAY = 60  # 3 to 7 on a quiet machine, most of it the start of a process and its imports

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [make_coloured(folder / f"{name}.mp4", frames=FRAMES, fps=25) for name in ("one", "two")]


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    cluster = RayNodes(TOKEN)
    yield cluster
    cluster.close()


def start(tmp_path: Path, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start the command as somebody whose home holds no token of Ray's."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("RAY_AUTH")}
    return subprocess.Popen(
        command("run", *arguments, *ALL, "--model", "fake", "--text-cache", "none", "--log-level", "info"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**known, "HOME": str(tmp_path), **environment},
    )


def end_of(run: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = run.communicate(timeout=300)
    assert TOKEN not in said
    assert "Traceback" not in said, said
    return run.returncode, said


@pytest.mark.parametrize("repetition", range(KILLS))
def test_files_are_whole_after_a_node_was_killed(
    nodes: RayNodes, clips: list[Path], tmp_path: Path, repetition: int
) -> None:
    nodes.add_node()
    out = tmp_path / "out"
    (tmp_path / "token").write_text(TOKEN)
    run = start(
        tmp_path,
        *(*clips, "--out", out, "--ray-address", nodes.address),
        RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"),
    )
    records = [out / name / "detections.jsonl" for name in ("one", "two")]
    wait_until(lambda: all(path.exists() and records_of(path) for path in records), "the first records")
    time.sleep(0.1 * repetition)
    nodes.kill_node()
    code, said = end_of(run)
    assert code == 0, said
    for name, path in zip(("one", "two"), records, strict=True):
        check_whole(out / name, FRAMES)
        assert longest_silence_s(path) < SECONDS_AWAY


def longest_silence_s(path: Path) -> float:
    times = [datetime.fromisoformat(record["wall_time"]).timestamp() for record in records_of(path)]
    return max(later - earlier for earlier, later in itertools.pairwise(times))


def test_a_signal_finishes_the_files_and_leaves_the_cluster_alone(
    nodes: RayNodes, clips: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    records = out / "one" / "detections.jsonl"
    run = start(
        tmp_path,
        *(*clips, "--semantics", "live", "--out", out, "--ray-address", nodes.address),
        RAY_AUTH_TOKEN=TOKEN,
    )
    wait_until(lambda: records.exists() and len(records_of(records)) >= 20, "records")
    run.send_signal(signal.SIGTERM)
    code, said = end_of(run)
    assert code == 143, said
    assert frames_in(out / "one") == len(records_of(records)) >= 20
    again = start(
        tmp_path,
        clips[0],
        "--end",
        1,
        "--sink",
        "jsonl:-",
        "--quiet",
        RAY_ADDRESS=nodes.address,
        RAY_AUTH_TOKEN=TOKEN,
    )
    code, said = end_of(again)
    assert code == 0
    assert said.count('"seq":') == 25


@pytest.mark.parametrize(
    ("token", "words"),
    [("", "it asks for a token; name its file in RAY_AUTH_TOKEN_PATH"), ("wrong-" * 8, "refuses the token")],
)
def test_without_the_right_token_nobody_gets_in(
    nodes: RayNodes, clips: list[Path], tmp_path: Path, token: str, words: str
) -> None:
    access = {"RAY_AUTH_TOKEN": token} if token else {}
    code, said = end_of(start(tmp_path, clips[0], "--ray-address", nodes.address, **access))
    assert code == 7
    assert said.startswith("error: the Ray cluster at")
    assert words in said
    assert said.count("\n") == 1
    assert "wrong-" not in said


def test_an_address_where_nobody_is(clips: list[Path], tmp_path: Path) -> None:
    code, said = end_of(start(tmp_path, clips[0], "--ray-address", f"127.0.0.1:{free_port()}"))
    assert (code, said.count("\n")) == (7, 1), said
    assert "no Ray cluster answers there" in said
