"""Clips whose truth is known: coloured boxes that move over a grey ground, for the colour-blob grounder."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from groundstream.pipeline.cli import app

COLOURS = {"red": (230, 25, 25), "white": (255, 255, 255), "blue": (25, 60, 230)}
PHRASES = ("red car", "white van", "blue bus")
ALL = ("-q", "red car", "-q", "white van", "-q", "blue bus")


def left_of(row: int, time_s: float, width: int) -> int:
    """Left edge of the box in `row` at `time_s`."""
    return int((width - 40) * (0.5 + 0.45 * np.sin(time_s + row)))


def make_coloured(
    path: Path,
    frames: int = 60,
    *,
    fps: int = 10,
    times_ms: Sequence[int] | None = None,
    width: int = 160,
    height: int = 120,
) -> Path:
    """Write a clip with a red, a white and a blue box in rows of their own; no B-frames."""
    times = [number * 1000 // fps for number in range(frames)] if times_ms is None else times_ms
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "bf": "0"})
        stream.codec_context.gop_size = fps
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time_ms in times:
            pixels = np.full((height, width, 3), 120, np.uint8)
            for row, colour in enumerate(COLOURS.values()):
                left, top = left_of(row, time_ms / 1000, width), 8 + row * height // 3
                pixels[top : top + height // 5, left : left + 40] = colour
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def times_of(path: Path) -> list[float]:
    """Return the presentation times of a video's frames in seconds."""
    with av.open(str(path)) as container:
        return [round(float(frame.time), 3) for frame in container.decode(video=0)]


def records_of(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSONL file; the last line may be half."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def ids_by_phrase(records: Sequence[dict[str, Any]]) -> dict[str, set[str]]:
    """Return the ids under which each phrase was seen, tentative ones left out."""
    found: dict[str, set[str]] = {}
    for record in records:
        for thing in record["objects"]:
            if thing["track_id"]:
                found.setdefault(thing["phrase"], set()).add(thing["track_id"])
    return found


def command(*arguments: object) -> list[str]:
    """Return the command line of `groundstream` with the colour-blob grounder and no shared text cache."""
    return [sys.executable, "-m", "groundstream.pipeline.cli", *(str(argument) for argument in arguments)]


def groundstream(*arguments: object, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run `groundstream` to its end."""
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=timeout_s, env=environment
    )


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `groundstream` to its end in this process, which spares the start of another."""
    capsys.readouterr()
    log = logging.getLogger("groundstream")
    before = (list(log.handlers), log.level, log.propagate)
    try:
        with pytest.raises(SystemExit) as ended:
            app([str(argument) for argument in arguments])
    finally:
        log.handlers[:], log.propagate = before[0], before[2]
        log.setLevel(before[1])
    shown = capsys.readouterr()
    code = ended.value.code
    return subprocess.CompletedProcess([], code if isinstance(code, int) else 0, shown.out, shown.err)


def run_until(
    arguments: Sequence[object], is_reached: Callable[[], bool], number: signal.Signals
) -> subprocess.CompletedProcess[str]:
    """Run `groundstream` and send it `number` as soon as `is_reached`."""
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        tick = threading.Event()
        for _ in range(3000):
            if is_reached():
                break
            tick.wait(0.01)
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)
