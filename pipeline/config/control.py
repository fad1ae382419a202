"""A file of phrases that is watched, so that the query changes on a running stream."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from groundstream.models.types import Prompt

log = logging.getLogger("groundstream.control")

POLL_S = 0.1


class PhraseFile:
    """Reads one phrase per line (`#` begins a comment) and hands them on whenever the file changes.

    A file that is missing, empty or unreadable changes nothing; that is said once.
    """

    def __init__(self, path: Path, on_change: Callable[[Prompt], None]) -> None:
        self._path, self._on_change = path, on_change
        self._seen: tuple[int, int, int] | None = None
        self._said = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="phrase-file", daemon=True)

    def start(self) -> None:
        """Read the file once if it is there, then watch it."""
        self.check()
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Hand the phrases on if the file has changed since the last look."""
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen == self._seen:
                return
            prompt = read_phrases(self._path)
            self._seen = seen  # a prompt that is refused is not tried again before the next change
            self._on_change(prompt)
        except (OSError, ValueError) as error:
            self._say(f"the phrases of {self._path} are not taken: {error}")
        else:
            self._said = ""

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            log.warning("%s", sentence)
            self._said = sentence

    def _watch(self) -> None:
        while not self._stop.wait(POLL_S):
            self.check()


def read_phrases(path: Path) -> Prompt:
    """Read one phrase per line; blank lines and lines that begin with `#` are skipped.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no phrase.
    """
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return Prompt.of([line for line in lines if line and not line.startswith("#")])
