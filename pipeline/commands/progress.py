"""What a person at a terminal sees of a run; silence where nobody looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from groundstream.pipeline.streams.base import Stream, StreamView

REFRESH_S = 0.25


class RunDisplay:
    """A bar per file (frames a second, position, time left) and a line of counters per camera.

    Only on a terminal: elsewhere it draws nothing.
    """

    def __init__(self, streams: Sequence[Stream], console: Console) -> None:
        self._streams = streams
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
        views = {stream: stream.view for stream in self._streams}
        cameras = {stream: view for stream, view in views.items() if view.live}
        for stream, view in views.items():
            if not view.live:
                self._move_bar(stream, view)
        return Group(self._bars, *([_camera_table(cameras)] if cameras else []))

    def _move_bar(self, stream: Stream, view: StreamView) -> None:
        end_s = stream.config.options.end_s or view.duration_s
        start_s = stream.config.options.start_s or 0.0
        if stream.id not in self._tasks:
            self._tasks[stream.id] = self._bars.add_task(stream.id, total=None, numbers="")
        total = end_s - start_s if end_s else None
        time_s = view.health.time_s
        numbers = f"{view.results} frames, {time_s:.1f} s, {_fps(stream, view):.1f} fps"
        done = max(0.0, time_s - start_s)
        self._bars.update(self._tasks[stream.id], total=total, completed=done, numbers=numbers)


def _camera_table(cameras: Mapping[Stream, StreamView]) -> Table:
    table = Table("camera", "state", "fps", "frames", "dropped", "objects", "reconnects", box=None)
    for stream, view in cameras.items():
        health = view.health
        dropped = sum(view.dropped.values())
        row = (f"{_fps(stream, view):.1f}", view.results, dropped, health.objects, health.epoch - 1)
        table.add_row(stream.id, health.state, *(str(value) for value in row))
    return table


def _fps(stream: Stream, view: StreamView) -> float:
    return view.results / max(1e-6, time.monotonic() - stream.started_s)
