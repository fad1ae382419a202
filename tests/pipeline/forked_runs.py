"""Runs of `groundstream` that begin at once: forked from a process that has imported everything already."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class ForkedRuns:
    """Starts runs as processes of their own, one after the other, and kills them; a context.

    What they say goes to `log`.
    """

    def __init__(self, log: Path) -> None:
        self._log = log.open("ab")
        command = [sys.executable, __file__]
        self._mother = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mother.kill()
        self._mother.communicate()
        self._log.close()

    def killed(
        self,
        arguments: Sequence[object],
        is_begun: Callable[[], bool],
        delay_s: float,
        patience_s: float = 120,
    ) -> bool:
        """Start a run and kill it (SIGKILL) `delay_s` after it `is_begun`; False where it ended before."""
        number = int(self._ask([str(each) for each in arguments]))
        deadline = time.monotonic() + patience_s
        while not is_begun():
            assert time.monotonic() < deadline, "the run does not begin"
            time.sleep(0.01)
        time.sleep(delay_s)
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
        return self._ask(None) == str(-signal.SIGKILL)

    def _ask(self, question: list[str] | None) -> str:
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        self._mother.stdin.write(json.dumps(question) + "\n")
        self._mother.stdin.flush()
        return self._mother.stdout.readline().strip()


def mother() -> None:
    """Fork for each list of arguments on the standard input, and wait for the child when asked `null`."""
    import cv2  # noqa: F401
    import supervision  # noqa: F401

    import groundstream.models.fake
    import groundstream.operators.recording.archive
    import groundstream.operators.tracking.tracker
    import groundstream.pipeline.executors.local  # noqa: F401
    from groundstream.pipeline.cli import app

    child = 0
    for line in sys.stdin:
        arguments = json.loads(line)
        if arguments is None:
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            app(arguments)
        print(child, flush=True)


if __name__ == "__main__":
    mother()
