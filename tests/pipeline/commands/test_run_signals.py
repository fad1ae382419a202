"""Signals before a run in this process has begun."""

from __future__ import annotations

import os
import signal

import pytest
import typer

from groundstream.pipeline.cli import _guard
from groundstream.pipeline.commands.run import _signals
from groundstream.pipeline.config.run import make_config


@pytest.mark.parametrize(
    ("number", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_signal_before_the_run_began_is_told(
    capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int, name: str
) -> None:
    config = make_config({"streams": [{"source": "a.mp4"}], "phrases": ["person"], "executor": "local"})
    before = signal.getsignal(number)

    def start() -> None:
        with _signals(config, []):
            os.kill(os.getpid(), number)

    with pytest.raises(typer.Exit) as ended:
        _guard(start)
    assert ended.value.exit_code == code
    assert capsys.readouterr().err == f"error: ended by {name} before the run began\n"
    assert signal.getsignal(number) is before
