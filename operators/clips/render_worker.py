"""Has clips made by another process, one after the other, so that no stream waits for them."""

from __future__ import annotations

import json
import logging
import queue
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundstream.operators.clips.order import ClipFiles

_log = logging.getLogger(__name__)

#: A renderer that gives no sign of life for so long is ended.
PATIENCE_S = 300.0
_IDLE_S = 20.0  # a renderer without work ends after this; starting one takes a second or two
_PATHS = ("annotated", "raw", "thumbnail", "facts")


@dataclass
class RenderCounters:
    """What became of the jobs.

    Attributes:
        made: clips.
        retried: jobs that failed once.
        failed: jobs that failed twice; they stay on disk and are tried again at the next start.
        deferred: jobs that found the line full; they stay on disk as well.
    """

    made: int = 0
    retried: int = 0
    failed: int = 0
    deferred: int = 0


class RenderWorker:
    """A line of jobs, and the process that makes them into clips; started when the first one comes."""

    def __init__(
        self,
        on_clip: Callable[[ClipFiles], None],
        on_problem: Callable[[str], None],
        most_waiting: int = 1000,
    ) -> None:
        """Start the worker.

        Args:
            on_clip: gets each finished clip, in the worker's thread.
            on_problem: gets one sentence for each clip that could not be made, in the same thread.
            most_waiting: jobs that may wait.
        """
        self.counters = RenderCounters()
        self._on_clip, self._on_problem = on_clip, on_problem
        self._jobs: queue.Queue[tuple[Path, int] | None] = queue.Queue()
        self._most_waiting, self._abandoned = most_waiting, False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="clip renderer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return self._jobs.qsize()

    def put(self, job: Path) -> None:
        """Have the job in this folder made."""
        if self._jobs.qsize() >= self._most_waiting:
            self.counters.deferred += 1
            self._on_problem(f"{job.name}: too many clips wait; this one is made at the next start")
            return
        self._jobs.put((job, 1))

    def close(self, timeout_s: float) -> None:
        """Make what waits, for `timeout_s` seconds at most, then stop; the rest is made at the next start."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._abandoned = True
            process = self._process
            if process is not None:
                process.kill()
            self._thread.join()

    def _run(self) -> None:
        closing = False
        while not self._abandoned:
            try:
                job = self._jobs.get(timeout=0 if closing else _IDLE_S)
            except queue.Empty:
                self._stop()
                if closing:
                    return
                continue
            if job is None:
                closing = True
            else:
                self._make(*job)
        self._stop()

    def _make(self, job: Path, attempt: int) -> None:
        answer = self._ask(job)
        if self._abandoned:
            return
        if "made" in answer:
            for values in answer["made"]:
                self.counters.made += 1
                self._tell(self._on_clip, _clip(values))
        elif attempt == 1:
            self.counters.retried += 1
            _log.warning("%s; it is tried again", answer["failed"])
            self._jobs.put((job, attempt + 1))
        else:
            self.counters.failed += 1
            self._tell(self._on_problem, f"{answer['failed']}; it is tried again at the next start")

    def _tell(self, listener: Callable[[Any], None], news: object) -> None:
        try:
            listener(news)
        except Exception:  # a listener's fault must not cost the clips after this one
            _log.exception("a listener to finished clips failed")

    def _ask(self, job: Path) -> dict[str, Any]:
        """Hand a job to the process and wait for what becomes of it; its death is an answer too."""
        process = self._process = self._process or _start()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(str(job.resolve())).encode() + b"\n")
            process.stdin.flush()
        while select.select([process.stdout], [], [], PATIENCE_S)[0]:
            line = process.stdout.readline()
            if not line:
                self._stop()
                return {"failed": f"{job.name}: the renderer died (exit code {process.returncode})"}
            if (answer := json.loads(line)) is not None:
                return dict(answer)
        self._stop()
        return {"failed": f"{job.name}: the renderer hung and was ended"}

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _start() -> subprocess.Popen[bytes]:
    # A group of its own: Ctrl-C ends the run, which then waits for its clips.
    return subprocess.Popen(
        [sys.executable, "-m", "groundstream.operators.clips.render_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
        bufsize=0,
    )


def _clip(values: dict[str, Any]) -> ClipFiles:
    return ClipFiles(**values | {kind: Path(values[kind]) for kind in _PATHS})
