"""Reads a source in a thread and lets a test wait for what it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from groundstream.operators.errors import Reason, SourceError
from groundstream.operators.frames import Frame
from groundstream.operators.sources import SourceOptions, SourceStatus, open_source


class Watcher:
    """Keeps frames (without their pictures' pixels being touched), statuses and the final error."""

    def __init__(self, uri: str, **options: object) -> None:
        self.frames: list[Frame] = []
        self.statuses: list[SourceStatus] = []
        self.error: SourceError | None = None
        self._change = threading.Condition()
        self.source = open_source(
            uri,
            "cam",
            SourceOptions(**options),  # type: ignore[arg-type]
            on_status=self._note,
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> float:
        """Close the source; return the seconds until its iteration had ended."""
        started = time.monotonic()
        self.source.close()
        self._thread.join(5)
        assert not self._thread.is_alive(), "the iteration did not end"
        return time.monotonic() - started

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def states(self) -> list[tuple[str, Reason | None]]:
        return [(status.state, status.reason) for status in self.statuses]

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> float:
        """Wait for `condition`; return the seconds that it took."""
        started = time.monotonic()
        with self._change:
            # Short steps: some conditions (a thread's end) are not notified.
            while not condition():
                waited_s = time.monotonic() - started
                assert waited_s < timeout_s, (self.states(), len(self.frames), self.error)
                self._change.wait(0.02)
        return time.monotonic() - started

    def wait_for_frames(self, count: int, epoch: int = 1, timeout_s: float = 10.0) -> float:
        return self.wait_until(lambda: sum(f.epoch == epoch for f in self.frames) >= count, timeout_s)

    def wait_for_state(self, state: str, reason: Reason | None, timeout_s: float = 10.0) -> float:
        return self.wait_until(lambda: (state, reason) in self.states(), timeout_s)

    def _note(self, status: SourceStatus) -> None:
        with self._change:
            self.statuses.append(status)
            self._change.notify_all()

    def _read(self) -> None:
        try:
            for frame in self.source:
                with self._change:
                    self.frames.append(frame)
                    self._change.notify_all()
        except SourceError as error:
            self.error = error
