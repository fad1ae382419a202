"""SIGTERM and Ctrl-C while a run under Ray starts: an exit code, one sentence, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from coloured import make_coloured
from ray_runs import FAKE, wait_until

from groundstream.pipeline.config.run import RayConfig
from groundstream.pipeline.executors.ray_cluster import RayCluster

END_S = 60.0  # on a busy machine; by itself it takes one
SIGNALS = [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]

pytestmark = pytest.mark.slow


def below(run: subprocess.Popen[str]) -> dict[psutil.Process, str]:
    """Return the processes below a run with their command lines."""
    found = {}
    for process in psutil.Process(run.pid).children(recursive=True):
        try:
            found[process] = " ".join(process.cmdline())
        except psutil.Error:  # gone meanwhile
            continue
    return found


@pytest.mark.parametrize(("number", "code", "name"), SIGNALS)
@pytest.mark.parametrize("moment", ["gcs_server", "raylet/raylet", "ray::StreamActor"])
def test_a_signal_while_the_run_starts(
    tmp_path: Path, moment: str, number: signal.Signals, code: int, name: str
) -> None:
    clips = [str(make_coloured(tmp_path / f"{clip}.mp4", frames=200, fps=25)) for clip in ("one", "two")]
    options = ["-q", "red car", "--model", FAKE["model"], "--semantics", "live", "--out", str(tmp_path / "o")]
    run = subprocess.Popen(
        [sys.executable, "-m", "groundstream.pipeline.cli", "run", *clips, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: any(moment in words for words in below(run).values()), moment)
        processes = below(run)
        run.send_signal(number)
        printed, said = run.communicate(timeout=END_S)
    finally:
        run.kill()
    assert (run.returncode, printed) == (code, ""), said
    assert "Traceback" not in said
    if moment == "ray::StreamActor":  # on a busy machine the run may have begun meanwhile
        assert "***" not in said
    else:
        assert said.endswith(f"error: ended by {name} before the run began\n")
    wait_until(lambda: not any(map(is_running, processes)), "the end of Ray's processes")
    folders = {Path(each) for words in processes.values() for each in re.findall(r"/tmp/gs-\w+", words)}
    assert folders
    assert not any(folder.exists() for folder in folders)


def is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_programs_own_handler_outlives_a_cluster() -> None:
    received = []
    old = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        cluster = RayCluster(RayConfig(), 1.0)
        os.kill(os.getpid(), signal.SIGTERM)
        cluster.close()
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, old)
    assert received == [signal.SIGTERM] * 2
