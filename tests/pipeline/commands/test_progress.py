import io
import time
from pathlib import Path

import pytest
from coloured import PHRASES, make_coloured
from rich.console import Console

from groundstream.pipeline.api import open_pipeline
from groundstream.pipeline.commands.progress import RunDisplay


def shown_of(tmp_path: Path, semantics: str, *, terminal: bool) -> str:
    clip = make_coloured(tmp_path / "street.mp4", frames=30)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=120)
    streams = [{"source": str(clip), "semantics": semantics}]
    with (
        open_pipeline([], PHRASES, model="fake", text_cache="none", streams=streams) as pipeline,
        RunDisplay(pipeline.streams, console),
    ):
        for result in pipeline:
            if result.frame.seq % 10 == 0:
                time.sleep(0.3)  # longer than the display's refresh
    return screen.getvalue()


def test_a_file_has_a_bar_with_position_and_rate(tmp_path: Path) -> None:
    shown = shown_of(tmp_path, "file", terminal=True)
    assert "street" in shown
    assert "frames," in shown
    assert "fps" in shown


@pytest.mark.slow
def test_a_camera_has_counters(tmp_path: Path) -> None:
    shown = shown_of(tmp_path, "live", terminal=True)
    assert "dropped" in shown
    assert "running" in shown


def test_nothing_is_drawn_where_nobody_looks(tmp_path: Path) -> None:
    assert shown_of(tmp_path, "file", terminal=False) == ""
