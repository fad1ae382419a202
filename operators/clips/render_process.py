"""The process that makes clips: reads jobs from its standard input, writes what became of them to its output.

A line is one JSON value. In: the folder of a job. Out: `null` as a sign of life, `{"made": [...]}` or
`{"failed": "..."}`. It ends with its parent, whose death closes its input.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from groundstream.operators.clips.render_job import render_job
from groundstream.operators.clips.render_turn import render_turn
from groundstream.operators.errors import GroundstreamError

#: How much the process stands back behind others, as `nice` counts.
NICENESS = 10
_SIGN_OF_LIFE_S = 1.0


def main() -> None:
    """Make clips until the standard input ends."""
    os.nice(NICENESS)
    # Nothing that a library prints may get between the lines.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()
    while True:
        _say(answers, _make(Path(json.loads(jobs.get())), _Pulse(answers)))


def _read(jobs: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        jobs.put(line)
    # The parent is gone or wants no more. What is half made is made anew at the next start.
    os._exit(0)


def _make(path: Path, pulse: _Pulse) -> dict[str, Any]:
    try:
        with render_turn(pulse):
            made = render_job(path, pulse)
    except (GroundstreamError, OSError, ValueError) as error:
        return {"failed": str(error)}
    except Exception as error:
        return {"failed": f"{path.name}: {type(error).__name__}: {error}"}
    return {"made": [asdict(clip) for clip in made]}


def _say(answers: TextIO, answer: dict[str, Any] | None) -> None:
    answers.write(json.dumps(answer, default=str) + "\n")
    answers.flush()


class _Pulse:
    """Gives a sign of life now and then."""

    def __init__(self, answers: TextIO) -> None:
        self._answers, self._last = answers, time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._last > _SIGN_OF_LIFE_S:
            self._last = time.monotonic()
            _say(self._answers, None)


if __name__ == "__main__":
    main()
