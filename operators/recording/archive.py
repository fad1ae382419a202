"""What is kept of one stream: its clips, its recording, and the index of them and of its events."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from groundstream.operators.clips.job import ClipWriter, left_behind
from groundstream.operators.clips.manager import ClipManager
from groundstream.operators.clips.renderer import Renderer
from groundstream.operators.clips.settings import ClipSettings
from groundstream.operators.clips.spec import ClipFiles, Shape
from groundstream.operators.events.engine import STREAM_ENDED
from groundstream.operators.events.event import Event, Sighting
from groundstream.operators.frames import FrameResult
from groundstream.operators.recording.budget import DiskBudget, StreamFolders
from groundstream.operators.recording.files import RecordedFile, RecordingChange
from groundstream.operators.recording.index import INDEX, IndexedClip, IndexWriter
from groundstream.operators.recording.repair import clip_from_facts, recover, repair
from groundstream.operators.recording.writer import RecordingWriter
from groundstream.operators.video.segment import Segment
from groundstream.operators.video.tap import Ring

CLIPS_FOLDER = "clips"
RECORDING_FOLDER = "recording"
RENDER_S = 900.0  # how long the end of a run waits for clips; what is left is made at the next start
BUDGET_S = 60.0  # how often files are checked for their age

_log = logging.getLogger("groundstream.archive")


@dataclass(frozen=True)
class ArchiveSettings:
    """What is kept of a stream.

    Attributes:
        ring_bytes: compressed video that is held in memory for the seconds before an event.
        clips: which clips are made; None makes none.
        shapes: zones and lines that are drawn into them.
        file_s: length of a recording's files in seconds; None records nothing.
        most_bytes: size of all recordings and clips of the stream; None has no limit.
        most_age_s: they go this long after they were finished; None keeps them.
    """

    ring_bytes: int
    clips: ClipSettings | None = None
    shapes: tuple[Shape, ...] = ()
    file_s: float | None = None
    most_bytes: int | None = None
    most_age_s: float | None = None


class StreamArchive:
    """Follows one stream: `add` with each result and its events, in order, then `end`, then `close`.

    What a dead run left in the folder, unfinished clips and recordings, is finished at the start. Nothing
    here waits for a disk or for a picture to be drawn. Call one of `add`, `interrupt` and `end` at a time,
    from any thread, and let nothing come between events and the call that brings them.
    """

    def __init__(self, stream_id: str, settings: ArchiveSettings, folder: Path) -> None:
        """Open what is kept.

        Args:
            stream_id: the stream.
            settings: what is kept of it.
            folder: where clips, recordings and the index go.

        Raises:
            OutputError: the index cannot be written.
        """
        self._log = logging.getLogger(f"groundstream.stream.{stream_id}")
        self._closed = threading.Event()
        self._pauses = _RecordingPauses(stream_id)
        self._ring: Ring | None = None
        self._manager: ClipManager | None = None
        self._recording: RecordingWriter | None = None
        self._open(stream_id, settings, folder)

    def add_segment(self, segment: Segment) -> None:
        """Take a piece of the stream's video; called from the source's thread."""
        if self._ring is not None:
            self._ring.add(segment)
        if self._manager is not None and segment.keyed:  # others cannot be decoded from their start
            self._manager.add_segment(segment)
        if self._recording is not None:
            self._recording.add(segment)

    def add(self, result: FrameResult, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """Keep the next result.

        Args:
            result: with the zones of its objects.
            events: what the rules say of it.

        Returns:
            The messages that follow the result: `events` with the names of their clips, then those of the
            recording.
        """
        self._index.add_result(result)
        return self._in_index((*self._in_clips(result, events), *self._pauses.events()))

    def interrupt(self, reason: str, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """Finish clips and the recording's file where the source is lost for now, however long it stays away.

        Args:
            reason: why it is lost.
            events: the ends of what was open.

        Returns:
            `events`, then what became of the recording.
        """
        self._end_clips(reason, events)
        if self._recording is not None:
            self._recording.end_file()
        return self._in_index((*events, *self._pauses.events()))

    def end(self, reason: str | None, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """Finish clips after the source has been closed.

        Args:
            reason: why the stream ended before its time; None where it came to its end.
            events: the ends of what was open.

        Returns:
            `events`, then the end of a pause of the recording.
        """
        self._end_clips(reason, events)
        if self._recording is not None:
            # What waits for the disk is written first: only then is it known whether a pause is over.
            self._recording.close()
        return self._in_index((*events, *self._pauses.events(reason or STREAM_ENDED)))

    def close(self) -> None:
        """Finish clips, recording and index; may be called twice."""
        self._closed.set()
        # In this order: the clip writer hands jobs to the renderer, and what all made goes into the index.
        self._clip_writer.close()
        if self._recording is not None:
            self._recording.close()
        self._renderer.close(RENDER_S)
        self._index.close()

    def _in_clips(self, result: FrameResult, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """Return the events with the names of their clips."""
        if self._manager is None or self._ring is None:
            return events
        names = self._manager.add_result(result, events)
        self._ring.keep_from(result.frame.time_s, result.frame.epoch)
        return tuple(replace(event, clip=names.get(event.id, event.clip)) for event in events)

    def _end_clips(self, reason: str | None, events: tuple[Event, ...]) -> None:
        if self._manager is not None:
            self._manager.end(reason, events)

    def _in_index(self, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """Have `events` written into the index; return them."""
        for event in events:
            self._index.add_event(event)
        return events

    def _open(self, stream_id: str, settings: ArchiveSettings, folder: Path) -> None:
        """Open what goes to disk, and finish what a dead run left there."""
        clips, recordings = folder / CLIPS_FOLDER, folder / RECORDING_FOLDER
        index = self._index = IndexWriter(
            folder / INDEX, stream_id, keep_observations=settings.file_s is not None
        )
        budget = DiskBudget(
            [StreamFolders(recordings, clips, index)],
            most_bytes=settings.most_bytes,
            most_age_s=settings.most_age_s,
        )

        def file_made(file: RecordedFile) -> None:
            index.add_file(file)
            budget.enforce()

        def clip_made(files: ClipFiles) -> None:
            index.add_clip(indexed(files))
            budget.enforce()

        renderer = self._renderer = Renderer(clip_made, self._warn)
        self._clip_writer = ClipWriter(renderer.put, self._warn)
        if settings.clips is not None:
            self._ring = Ring(settings.clips.reach_s, settings.ring_bytes)
            self._manager = ClipManager(
                stream_id,
                settings.clips,
                clips,
                self._clip_writer,
                self._ring.cut,
                settings.shapes,
            )
        if settings.file_s is not None:
            self._recording = RecordingWriter(
                recordings, settings.file_s, on_file=file_made, on_change=self._pauses.note
            )
        self._finish_left(index, renderer, clips, recordings)
        threading.Thread(target=self._keep_budget, args=(budget,), name="disk budget", daemon=True).start()

    def _finish_left(self, index: IndexWriter, renderer: Renderer, clips: Path, recordings: Path) -> None:
        """Finish what a killed run left: recordings first, then the index learns of them, then clips."""
        recover(recordings)
        jobs = left_behind(clips)
        repair(index, recordings, clips)
        for job in jobs:
            self._log.warning("the clip %s of a run that was killed is finished now", job.name)
            renderer.put(job)

    def _keep_budget(self, budget: DiskBudget) -> None:
        """Delete what is too old also while nothing new is written."""
        budget.enforce()
        while not self._closed.wait(BUDGET_S):
            budget.enforce()

    def _warn(self, sentence: str) -> None:
        self._log.warning("%s", sentence)


class _RecordingPauses:
    """Makes one event of each pause of the recording: `new` where it stops, `end` where it goes on."""

    def __init__(self, stream_id: str) -> None:
        self._stream_id = stream_id
        self._changes: queue.SimpleQueue[RecordingChange] = queue.SimpleQueue()
        self._stopped: Event | None = None

    def note(self, change: RecordingChange) -> None:
        """Take a change; from the recording's thread."""
        self._changes.put(change)

    def events(self, over: str | None = None) -> tuple[Event, ...]:
        """Return what became of the recording meanwhile; what is open ends where all is `over`."""
        events = []
        while not self._changes.empty():
            if (event := self._event(self._changes.get())) is not None:
                events.append(event)
        if over is not None and self._stopped is not None:
            events.append(_ended(self._stopped, time.time(), self._stopped.after, over))
        return tuple(events)

    def _event(self, change: RecordingChange) -> Event | None:
        state = Sighting(
            epoch=change.epoch,
            seq=-1,
            time_s=change.time_s,
            wall_time=change.wall,
            track_id=None,
            phrase="",
            score=0.0,
            box=None,
            box_norm=None,
            values={"reason": change.reason},
        )
        stopped = self._stopped
        if change.recording:
            _log.warning("stream %s: recording goes on", self._stream_id)
            self._stopped = None
            return None if stopped is None else _ended(stopped, change.wall, state)
        _log.error("stream %s: recording has stopped: %s", self._stream_id, change.reason)
        name = f"{change.wall:.3f}-{uuid.uuid4().hex[:6]}"
        self._stopped = Event(
            name, self._stream_id, "recording", "new", "recording", None, state, change.time_s
        )
        return self._stopped


def _ended(stopped: Event, wall: float, state: Sighting, truncated: str | None = None) -> Event:
    """Return the end of a pause of the recording; the media clock may have begun anew meanwhile."""
    end_s = stopped.start_s + max(0.0, wall - stopped.after.wall_time)
    return replace(stopped, type="end", before=stopped.after, after=state, end_s=end_s, truncated=truncated)


def indexed(files: ClipFiles) -> IndexedClip:
    """Return what the index keeps of a clip."""
    return clip_from_facts(files.annotated, json.loads(files.facts.read_text(encoding="utf-8")))
