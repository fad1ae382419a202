"""Only so many renderers work at once, and a dead one's place is free."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from groundstream.operators.clips import renderer_main as module
from groundstream.operators.clips.renderer_main import render_turn

HOLD = """
import sys
from groundstream.operators.clips.renderer_main import render_turn
with render_turn(lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def one_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(module.os, "cpu_count", lambda: 1)


def test_a_turn_waits_for_the_one_before_even_when_that_is_killed() -> None:
    waits = []
    command = [
        sys.executable,
        "-c",
        HOLD.replace("import sys", "import os, sys; os.cpu_count = lambda: 1", 1),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"

        def wait() -> None:
            waits.append(1)
            if len(waits) == 3:
                holder.kill()

        with render_turn(wait):
            assert len(waits) >= 3


def test_turns_follow_each_other_at_once() -> None:
    waits: list[int] = []
    for _ in range(3):
        with render_turn(lambda: waits.append(1)):
            pass

    assert waits == []


def test_nobody_waits_where_no_lock_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/no-such-place")

    with render_turn(lambda: pytest.fail("waited")):
        pass
