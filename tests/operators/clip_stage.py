"""Plays a real file through a real source, tap and ring to a clip manager, and makes its clips."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from counter_video import ROUND_S, truth
from result_factory import MODEL

from groundstream.models.types import Prompt
from groundstream.operators.clips.job import ClipWriter
from groundstream.operators.clips.manager import ClipManager
from groundstream.operators.clips.renderer_main import render_job
from groundstream.operators.clips.settings import ClipSettings
from groundstream.operators.clips.spec import Shape
from groundstream.operators.events.event import Event, EventKind, EventType, Sighting
from groundstream.operators.frames import Frame, FrameResult, SeenObject
from groundstream.operators.sources import SourceOptions, open_source
from groundstream.operators.video.segment import Segment
from groundstream.operators.video.tap import PacketTap, Ring

PROMPT = Prompt.of(["white van"])
ZONE = Shape("gate", ((0.1, 0.5), (0.5, 0.5), (0.4, 0.95)), closed=True)


@dataclass(frozen=True)
class Happening:
    """An event of a test: when it is, and how much later its beginning is told."""

    start_s: float
    end_s: float
    late_s: float = 0.0
    epoch: int = 1


def found(frame: Frame) -> FrameResult:
    """Return the result of a frame: one object, where the counter video has it."""
    left, top, right, bottom = truth(frame.time_s)
    n = 1 + int(frame.time_s // ROUND_S)
    seen = SeenObject(
        track_id=f"cam:{frame.epoch}:{n}",
        phrase="white van",
        score=0.8,
        box=(left * frame.width, top * frame.height, right * frame.width, bottom * frame.height),
        number=n,
        phrase_index=0,
        phrase_scores=(0.8,),
        age_s=1.0,
    )
    return FrameResult(frame, PROMPT, MODEL, (seen,))


def message(
    number: int, kind: EventType, frame: Frame, happening: Happening, *, of: EventKind = "zone_enter"
) -> Event:
    """Return a message about an event as the rules make it."""
    box = truth(happening.start_s)
    seen = Sighting(
        epoch=frame.epoch,
        seq=frame.seq,
        time_s=frame.time_s,
        wall_time=frame.wall_time,
        track_id=f"cam:{frame.epoch}:1",
        phrase="white van",
        score=0.8,
        box=box,
        box_norm=box,
    )
    end_s = happening.end_s if kind == "end" else None
    return Event(f"e{number}", "cam", of, kind, "gate", None, seen, happening.start_s, end_s, best=seen)


@dataclass
class Stage:
    """A clip manager with all that is around it.

    Attributes:
        folder: of the clips.
        settings: which clips.
        shapes: what is drawn beside the objects.
        writer_bytes: what may wait for the disk.
        jobs: folders of the jobs that were handed on.
        problems: what was told.
        names: the clip that was named for each event.
        times: media times of the frames that were played, by epoch.
    """

    folder: Path
    settings: ClipSettings
    shapes: Sequence[Shape] = (ZONE,)
    writer_bytes: int = 2**27
    jobs: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    times: dict[int, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ring = Ring(self.settings.reach_s, 2**28)
        self.writer = ClipWriter(self.jobs.append, self.problems.append, self.writer_bytes)
        self.manager = ClipManager("cam", self.settings, self.folder, self.writer, self.ring.cut, self.shapes)
        self._told: dict[int, EventType] = {}

    def add_segment(self, segment: Segment) -> None:
        """Take a segment as the archive of a stream does."""
        self.ring.add(segment)
        self.manager.add_segment(segment)

    def play(
        self,
        path: Path,
        happenings: Sequence[Happening] = (),
        *,
        look_every: int = 1,
        until: Callable[[Frame], bool] = lambda _: False,
    ) -> None:
        """Read a file; give the manager each `look_every`-th frame's result until a frame says to stop."""
        tap = PacketTap(self.add_segment)
        with open_source(str(path), "cam", SourceOptions(semantics="file"), tap=tap) as source:
            for number, frame in enumerate(source):
                if until(frame):
                    break
                self.times.setdefault(frame.epoch, []).append(frame.time_s)
                if number % look_every == 0:
                    self.give(frame, happenings)

    def give(self, frame: Frame, happenings: Sequence[Happening] = ()) -> None:
        """Hand the result of one frame to the manager, with what happens there."""
        events = list[Event]()
        for number, happening in enumerate(happenings):
            told, now_s = self._told.get(number), frame.time_s
            if happening.epoch != frame.epoch:
                continue
            if told is None and now_s >= happening.start_s + happening.late_s:
                events.append(message(number, "new", frame, happening))
                told = self._told[number] = "new"
            if told == "new" and now_s >= max(happening.end_s, happening.start_s + happening.late_s):
                events.append(message(number, "end", frame, happening))
                self._told[number] = "end"
        self.ring.keep_from(frame.time_s, frame.epoch)
        for event_id, name in self.manager.add_result(found(frame), events).items():
            assert self.names.setdefault(event_id, name) == name, "an event's clip changed its name"

    def finish(self, reason: str | None = None) -> list[dict[str, Any]]:
        """End the stream, make all clips, and return their facts by time."""
        self.manager.end(reason)
        self.writer.close()
        return self.render()

    def render(self) -> list[dict[str, Any]]:
        """Make the clips of the jobs; return their facts by time."""
        for job in self.jobs:
            render_job(job)
        return self.facts()

    def facts(self) -> list[dict[str, Any]]:
        """Return the facts of all clips by time."""
        read = [json.loads(path.read_text(encoding="utf-8")) for path in self.folder.glob("*.json")]
        return sorted(read, key=lambda facts: (facts["epoch"], facts["got"]["start_s"]))

    def file(self, facts: dict[str, Any], kind: str) -> Path:
        """Return a file of a clip: `annotated`, `raw` or `thumbnail`."""
        path: Path = self.folder / facts["files"][kind]
        return path


def expected(times_s: Sequence[float], start_s: float, end_s: float, *, open_end: bool = False) -> list[int]:
    """Return the numbers of the pictures that a clip of this span has."""
    last = (lambda t: t < end_s - 1e-6) if open_end else (lambda t: t <= end_s + 1e-6)
    return [number for number, time_s in enumerate(times_s) if time_s >= start_s - 1e-6 and last(time_s)]


def times(path: Path) -> list[float]:
    """Return the times of a video's pictures in seconds."""
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]
