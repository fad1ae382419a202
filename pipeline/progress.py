"""What a person at a terminal sees of a run; silence where nobody looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from groundstream.pipeline.local import Stream

REFRESH_S = 0.25


class RunDisplay:
    """A bar per file (frames a second, position, time left) and a line of counters per camera.

    Only on a terminal: elsewhere it draws nothing.
    """

    def __init__(self, streams: Sequence[Stream], console: Console) -> None:
        self._streams = [stream for stream in streams if stream.source is not None]
        self._live = Live(console=console, refresh_per_second=1 / REFRESH_S, transient=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._shown = console.is_terminal
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="display", daemon=True)

    def __enter__(self) -> RunDisplay:
        if self._shown:
            self._live.start()
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._shown:
            self._thread.join()
            self._live.stop()

    def _refresh(self) -> None:
        while not self._stop.wait(REFRESH_S):
            self._live.update(self._picture())

    def _picture(self) -> Group:
        cameras = [stream for stream in self._streams if stream.source and stream.source.semantics == "live"]
        for stream in self._streams:
            if stream not in cameras:
                self._move_bar(stream)
        return Group(self._bars, *([_camera_table(cameras)] if cameras else []))

    def _move_bar(self, stream: Stream) -> None:
        assert stream.source is not None
        info = stream.source.info
        end_s = stream.config.end_s or (info.duration_s if info else None)
        start_s = stream.config.start_s or 0.0
        if stream.id not in self._tasks:
            self._tasks[stream.id] = self._bars.add_task(stream.id, total=None, numbers="")
        total = end_s - start_s if end_s else None
        numbers = f"{stream.results} frames, {stream.time_s:.1f} s, {_fps(stream):.1f} fps"
        done = max(0.0, stream.time_s - start_s)
        self._bars.update(self._tasks[stream.id], total=total, completed=done, numbers=numbers)


def _camera_table(streams: Sequence[Stream]) -> Table:
    table = Table("camera", "state", "fps", "frames", "dropped", "objects", "reconnects", box=None)
    for stream in streams:
        assert stream.source is not None
        counters = stream.source.counters
        state = str(stream.status.state) if stream.status else "starting"
        dropped = sum(counters.frames_dropped.values())
        row = (f"{_fps(stream):.1f}", stream.results, dropped, stream.objects, counters.reconnects)
        table.add_row(stream.id, state, *(str(value) for value in row))
    return table


def _fps(stream: Stream) -> float:
    return stream.results / max(1e-6, time.monotonic() - stream.started_s)
