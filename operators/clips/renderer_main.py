"""The process that makes clips: reads jobs from its standard input, writes what became of them to its output.

A line is one JSON value. In: the folder of a job. Out: `null` as a sign of life, `{"made": [...]}` or
`{"failed": "..."}`. It ends with its parent (`Renderer`), whose death closes its input.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from groundstream.operators.clips.job import ClipJob, JobFolder
from groundstream.operators.clips.render import render_span
from groundstream.operators.clips.spec import ClipFiles
from groundstream.operators.errors import GroundstreamError, OutputError
from groundstream.operators.utils.files import RESERVE_BYTES, check_room, explain, try_lock

#: How much the process stands back behind others, as `nice` counts.
NICENESS = 10
#: So many cores of a machine for each renderer at work.
CORES_EACH = 4
_SIGN_OF_LIFE_S = 1.0
_NEXT_TRY_S = 0.2  # how often a renderer that waits for its turn tries


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


def render_job(path: Path, on_frame: Callable[[], None] = lambda: None) -> tuple[ClipFiles, ...]:
    """Make the clip of the job in the folder `path`, then remove the job.

    A job that is gone, or on which another process works, gives nothing. One without video is removed.

    Args:
        path: the job.
        on_frame: called for each decoded picture, as a sign of life.

    Raises:
        OutputError: the clip cannot be made; the job stays.
        ValueError: the folder holds no job.
    """
    folder = JobFolder.take(path)
    if folder is None:
        return ()
    with folder:
        job, target = folder.read(), path.parent.parent
        files: tuple[ClipFiles, ...] = ()
        if not (target / f"{job.spec.name}.json").exists():  # the facts come last: it was made already
            _check_room(job, target)
            files = render_span(job.pieces, job.observations, job.spec, target, on_frame=on_frame)
        folder.remove()
        return files


def _check_room(job: ClipJob, folder: Path) -> None:
    """Leave room to those that write records: a clip takes its video twice, as it came and annotated.

    Raises:
        OutputError: there is too little.
    """
    try:
        check_room(
            folder, RESERVE_BYTES, sum(2 * piece.path.stat().st_size for piece in job.pieces), times=0.5
        )
    except OSError as error:
        raise OutputError(f"cannot make the clip {job.spec.name} in {folder}: {explain(error)}") from error


@contextmanager
def render_turn(while_waiting: Callable[[], None]) -> Iterator[None]:
    """Wait until one of the machine's places for renderers is free, and hold it; a dead holder's is free.

    So only a few work at the same time, of however many streams and runs. Where no lock can be made, nobody
    waits. `while_waiting` is called now and then.
    """
    places = max(1, (os.cpu_count() or 1) // CORES_EACH)
    try:
        locks = [
            os.open(_lock_file(place), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
            for place in range(places)
        ]
    except OSError:
        yield
        return
    try:
        while not any(map(try_lock, locks)):
            while_waiting()
            time.sleep(_NEXT_TRY_S)
        yield
    finally:
        for lock in locks:
            os.close(lock)


def _lock_file(place: int) -> Path:
    return Path(tempfile.gettempdir()) / f"groundstream-render-{os.getuid()}-{place}.lock"


if __name__ == "__main__":
    main()
