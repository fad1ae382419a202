"""Has clips made by another process, one after the other, so that no stream waits for them."""

from __future__ import annotations

import json
import logging
import select
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundstream.operators.clips.spec import FILE_KINDS, ClipFiles
from groundstream.operators.utils.files import explain
from groundstream.operators.utils.worker import Worker

_log = logging.getLogger(__name__)

#: A child that gives no sign of life for so long is ended.
PATIENCE_S = 300.0
_IDLE_S = 20.0  # a child without work ends after this; starting one takes a second or two


@dataclass
class RenderCounters:
    """What became of the jobs.

    Attributes:
        made: clips.
        retried: jobs that failed once.
        failed: jobs that failed twice; they stay on disk and are tried again at the next start.
        deferred: jobs that found the line full or closed; they stay on disk as well.
    """

    made: int = 0
    retried: int = 0
    failed: int = 0
    deferred: int = 0


class Renderer:
    """A line of jobs, and the child process that makes them into clips; started when the first one comes.

    The other end is `renderer_main`: a job's folder goes to its standard input, its answer comes back.
    """

    def __init__(
        self,
        on_clip: Callable[[ClipFiles], None],
        on_problem: Callable[[str], None],
        most_waiting: int = 1000,
    ) -> None:
        """Open the line.

        Args:
            on_clip: gets each finished clip, in the renderer's thread.
            on_problem: gets one sentence for each clip that could not be made, in the same thread.
            most_waiting: jobs that may wait or be in the making.
        """
        self.counters = RenderCounters()
        self._on_clip, self._on_problem = on_clip, on_problem
        self._most_waiting, self._abandoned = most_waiting, False
        self._again: deque[Path] = deque()  # failed once when the line was closed already
        self._process: subprocess.Popen[bytes] | None = None
        # Without work the child's memory is given back.
        self._worker = Worker[tuple[Path, int]](
            "clip renderer",
            lambda job: self._make(*job),
            idle=self._stop,
            idle_s=_IDLE_S,
            finish=self._finish,
        )

    def put(self, job: Path) -> None:
        """Have the job in this folder made."""
        full = self._worker.waiting >= self._most_waiting
        if full or not self._worker.put((job, 1)):
            self.counters.deferred += 1
            why = "too many clips wait" if full else "the run is over"
            self._on_problem(f"{job.name}: {why}; this one is made at the next start")

    def close(self, timeout_s: float) -> None:
        """Make what waits, for `timeout_s` seconds at most, then stop; the rest is made at the next start."""
        if self._worker.close(timeout_s):
            return
        self._abandoned = True
        self._worker.abandon()
        if (process := self._process) is not None:
            process.kill()
        self._worker.close()

    def _make(self, job: Path, attempt: int) -> None:
        answer = self._ask(job)
        if self._abandoned:
            return
        if "made" in answer:
            for values in answer["made"]:
                self.counters.made += 1
                self._notify(self._on_clip, _clip(values))
        elif attempt == 1:
            self.counters.retried += 1
            _log.warning("%s; it is tried again", answer["failed"])
            # Behind the others, also at the end: what failed for want of room may go well later, what hung
            # must not take the time that is left for them.
            if not self._worker.put((job, 2)):
                self._again.append(job)
        else:
            self.counters.failed += 1
            self._notify(self._on_problem, f"{answer['failed']}; it is tried again at the next start")

    def _finish(self) -> None:
        """Try what failed at the end once more, then end the child."""
        try:
            while self._again and not self._abandoned:
                self._make(self._again.popleft(), 2)
        finally:
            self._stop()

    def _notify(self, listener: Callable[[Any], None], value: object) -> None:
        try:
            listener(value)
        except Exception:  # a listener's fault must not cost the clips after this one
            _log.exception("a listener to finished clips failed")

    def _ask(self, job: Path) -> dict[str, Any]:
        """Hand a job to the child and wait for what becomes of it; its death is an answer too."""
        try:
            process = self._process = self._process or _start()
        except OSError as error:  # no memory or no process left for one more
            return {"failed": f"{job.name}: the renderer cannot be started: {explain(error)}"}
        if self._abandoned:  # `close` may have looked for a child just before there was one
            process.kill()
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
        [sys.executable, "-m", "groundstream.operators.clips.renderer_main"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
        bufsize=0,
    )


def _clip(values: dict[str, Any]) -> ClipFiles:
    return ClipFiles(**values | {kind: Path(values[kind]) for kind in FILE_KINDS})
