"""Which clips a stream needs: from events, recorded segments and results to jobs for the renderer.

`ClipManager` decides when a clip begins, lengthens, splits and ends; `OpenClip` is one of them as it grows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path

from groundstream.operators.clips.job import PENDING, ClipWriter
from groundstream.operators.clips.settings import ClipSettings
from groundstream.operators.clips.spec import ClipSpec, Shape, Span, clip_name
from groundstream.operators.clips.timeline import LONGEST_GAP_S, SAME_S, Observation, Timeline, observation_of
from groundstream.operators.events.event import Event
from groundstream.operators.frames import FrameResult
from groundstream.operators.records import event_record
from groundstream.operators.video.segment import Segment

_OBSERVATION_BYTES, _OBJECT_BYTES = 200, 200  # what an observation and an object of it take in memory, about
#: A clip whose last pictures have not come this long after its end is made without them.
PATIENCE_S = 120.0


class ClipManager:
    """Decides the clips of one stream and has them gathered, while they happen, in folders on disk.

    It keeps no video: each segment goes to the writer, which puts it beside the jobs that need it. Safe from
    several threads; no call waits for a disk.
    """

    def __init__(
        self,
        stream_id: str,
        settings: ClipSettings,
        folder: Path,
        writer: ClipWriter,
        recent: Callable[[float, float, int], Sequence[Segment]],
        shapes: Sequence[Shape] = (),
    ) -> None:
        """Build a manager.

        Args:
            stream_id: the stream.
            settings: which clips.
            folder: where finished clips go.
            writer: writes jobs and hands them on.
            recent: `Ring.cut`: the segments of `[start_s, end_s)` of an epoch that are still there; it must
                reach back `settings.reach_s` seconds.
            shapes: zones and lines to draw.
        """
        self._stream_id, self._settings, self._folder = stream_id, settings, folder
        self._writer, self._recent, self._shapes = writer, recent, tuple(shapes)
        self._timeline = Timeline(settings.reach_s + 2 * LONGEST_GAP_S)
        self._clips: list[OpenClip] = []
        self._now: tuple[int, float] = (0, -inf)
        self._lock = threading.Lock()

    def add_segment(self, segment: Segment) -> None:
        """Take a segment that the ring has got; one that cannot begin a file is left out."""
        if not segment.keyed:
            return
        with self._lock:
            if self._settings.mode == "always":
                self._chain(segment)
            for clip in self._clips:
                clip.add_segment(segment)
            self._advance()

    def add_result(self, result: FrameResult, events: Sequence[Event] = ()) -> dict[str, str]:
        """Take what was seen in the next frame, and what the rules say of it.

        Returns:
            For the id of each of `events` that has a clip the file name of that clip, as it will be.
        """
        frame, observation = result.frame, observation_of(result)
        with self._lock:
            if observation is not None:
                self._timeline.add(observation)
            names = self._note(events)
            self._now = (frame.epoch, frame.time_s)
            for clip in self._clips:
                if observation is not None:
                    clip.add_observation(observation)
            self._advance()
        return names

    def end(self, reason: str | None = None, events: Sequence[Event] = ()) -> None:
        """Close all clips where the stream has ended; all its segments must have come.

        Args:
            reason: why it ended before its time; None where it simply came to its end.
            events: what the rules say at the end.
        """
        with self._lock:
            self._note(events)
            for clip in self._clips:
                clip.close(reason)
            self._clips = []

    def _chain(self, segment: Segment) -> None:
        """See to it that a chain begins with its epoch's first segment, also where an event began it."""
        clip = self._clip_of(segment.epoch)
        if clip is None:
            self._open(segment.epoch, segment.start_s, segment.start_wall, "always", "")
        elif (
            clip.covered_s == -inf and segment.start_s < clip.start_s and clip.begin_earlier(segment.start_s)
        ):
            self._fill(clip)

    def _note(self, events: Sequence[Event]) -> dict[str, str]:
        """Bring events into their clips; return the clips' names by event."""
        names: dict[str, str] = {}
        for event in events:
            if event.kind == "recording":
                continue
            clip = self._holder(event)
            if clip is None and event.type == "new":
                clip = self._begin(event)
            if clip is not None:
                names[event.id] = clip.note(event)
        return names

    def _holder(self, event: Event) -> OpenClip | None:
        """Return the clip that has this event already, for a new one the clip that it overlaps with."""
        known = [clip for clip in self._clips if clip.has(event.id)]
        if known or event.type != "new":
            return known[-1] if known else None
        clip, start_s = self._clip_of(event.after.epoch), event.start_s - self._settings.pre_s
        if clip is None or start_s > clip.end_s + SAME_S:
            return None
        if start_s < clip.start_s and clip.begin_earlier(start_s):
            self._fill(clip)
        return clip

    def _clip_of(self, epoch: int) -> OpenClip | None:
        """Return the newest clip that still takes events."""
        taking = [clip for clip in self._clips if clip.epoch == epoch and not clip.sealed]
        return max(taking, key=lambda clip: clip.start_s, default=None)

    def _begin(self, event: Event) -> OpenClip:
        start_s, seen = event.start_s - self._settings.pre_s, event.after
        wall = seen.wall_time - (seen.time_s - start_s)
        return self._open(seen.epoch, start_s, wall, event.kind, seen.phrase)

    def _open(self, epoch: int, start_s: float, wall: float, kind: str, phrase: str) -> OpenClip:
        name = clip_name(wall, kind, phrase)
        job = self._writer.begin(self._folder / PENDING / name)
        clip = OpenClip(
            name, self._stream_id, epoch, start_s, self._settings.post_s, self._writer, job, self._shapes
        )
        clip.endless = self._settings.mode == "always"
        self._clips.append(clip)
        self._fill(clip)
        return clip

    def _fill(self, clip: OpenClip) -> None:
        """Give a clip what there was before it began."""
        for segment in self._recent(clip.start_s, inf, clip.epoch):
            clip.add_segment(segment)
        for observation in self._timeline.slice(clip.start_s - LONGEST_GAP_S, inf):
            clip.add_observation(observation)

    def _advance(self) -> None:
        """Go on in another part where a clip has become too long, and close what is complete."""
        epoch, now_s = self._now
        for clip in [clip for clip in self._clips if clip.epoch == epoch and not clip.sealed]:
            self._split(clip, now_s)
        for clip in list(self._clips):
            if clip.epoch < epoch:
                self._clips.remove(clip)
                clip.close("the stream was interrupted")
            elif clip.epoch == epoch and self._is_over(clip, now_s):
                self._clips.remove(clip)
                clip.close("its last pictures never came")

    def _split(self, clip: OpenClip, now_s: float) -> None:
        while (seam_s := clip.start_s + self._settings.longest_s) < min(clip.end_s, now_s):
            clip = self._continue(clip, seam_s)

    def _is_over(self, clip: OpenClip, now_s: float) -> bool:
        """Tell whether no event can lengthen the clip any more and its video is there."""
        if clip.sealed:
            return clip.covered_s >= clip.end_s or now_s > clip.end_s + PATIENCE_S
        if now_s <= clip.end_s + self._settings.reach_s:
            return False
        return clip.covered_s > clip.end_s or now_s > clip.end_s + PATIENCE_S

    def _continue(self, clip: OpenClip, seam_s: float) -> OpenClip:
        """Seal `clip` at `seam_s` and return the part that goes on from there."""
        folder = self._folder / PENDING / clip.next_name
        following = clip.seal(seam_s, self._writer.begin(folder, adopt=clip.job, from_s=seam_s))
        self._clips.append(following)
        for observation in self._timeline.slice(seam_s - LONGEST_GAP_S, inf):
            following.add_observation(observation)
        return following


class OpenClip:
    """One clip, or one part of a long one, as it grows; knows what it needs and has it written to its job.

    Attributes:
        job: folder of its job; it has the name of this part of the clip.
        epoch: of the stream.
        start_s: media time at which it is to start.
        covered_s: media time up to which there is video.
        endless: goes on whatever the events say.
        sealed: its end is fixed, another part goes on from there.
    """

    def __init__(
        self,
        name: str,
        stream_id: str,
        epoch: int,
        start_s: float,
        post_s: float,
        writer: ClipWriter,
        job: Path,
        shapes: tuple[Shape, ...],
        part: int = 1,
    ) -> None:
        """Take the job that `writer` has begun in the folder `job`; the rest is what a `ClipSpec` has."""
        self._name, self._stream_id, self.epoch = name, stream_id, epoch
        self.start_s, self._post_s, self._shapes, self._part = start_s, post_s, shapes, part
        self._writer, self.job = writer, job
        self.covered_s = -inf
        self.endless = self.sealed = False
        self._known_end_s = start_s
        self._events: dict[str, Event] = {}
        self._running = set[str]()
        self._ends: dict[int, float] = {}  # of the segments that it has, by their start

    @property
    def file_name(self) -> str:
        """Name of the annotated video."""
        return f"{self.job.name}.mp4"

    @property
    def next_name(self) -> str:
        """Name of the part after this one, without an ending."""
        return f"{self._name}.{self._part + 1}"

    @property
    def end_s(self) -> float:
        """Media time at which it is to end; infinite while that is not known."""
        open_ended = not self.sealed and (self.endless or self._running)
        return inf if open_ended else self._known_end_s

    def has(self, event_id: str) -> bool:
        """Tell whether this event belongs to it."""
        return event_id in self._events

    def begin_earlier(self, start_s: float) -> bool:
        """Start at `start_s`, which is before the start so far; False for a part that continues another."""
        if self._part > 1:
            return False
        self.start_s = start_s
        return True

    def note(self, event: Event) -> str:
        """Take the latest message about an event; return the name of the clip that shows its beginning."""
        known = self._events.get(event.id)
        clip = known.clip if known and known.clip else self.file_name
        self._events[event.id] = replace(event, clip=clip)
        if event.type == "end":
            self._running.discard(event.id)
            end_s = event.after.time_s if event.end_s is None else event.end_s
            self._known_end_s = max(self._known_end_s, end_s + self._post_s)
        elif not self.sealed:
            self._running.add(event.id)
        if len(self._events) == 1:  # with many at once, the next segment is early enough
            self._save()
        return clip

    def add_segment(self, segment: Segment) -> None:
        """Take a segment if it reaches into the clip, once however often it comes."""
        key = round(segment.start_s / SAME_S)
        beyond = self.sealed and segment.start_s > self.end_s
        if segment.epoch != self.epoch or segment.end_s <= self.start_s or beyond or key in self._ends:
            return
        self._ends[key] = segment.end_s
        self.covered_s = max(self.covered_s, segment.end_s)
        self._writer.put(self.job, lambda job: job.add_piece(segment), segment.size_bytes)
        self._save()

    def add_observation(self, observation: Observation) -> None:
        """Take what was seen if it is of use to the clip."""
        if observation.epoch == self.epoch and observation.time_s >= self.start_s - LONGEST_GAP_S:
            size_bytes = _OBSERVATION_BYTES + _OBJECT_BYTES * len(observation.objects)
            self._writer.put(self.job, lambda job: job.add_observation(observation), size_bytes)

    def seal(self, seam_s: float, job: Path) -> OpenClip:
        """End at `seam_s`, and return the part that goes on from there with what has not ended."""
        following = OpenClip(
            self._name,
            self._stream_id,
            self.epoch,
            seam_s,
            self._post_s,
            self._writer,
            job,
            self._shapes,
            self._part + 1,
        )
        following.covered_s, following.endless = self.covered_s, self.endless
        following._ends = {start: end_s for start, end_s in self._ends.items() if end_s > seam_s}
        following._known_end_s = max(seam_s, self._known_end_s)
        for event in self._events.values():
            if event.id in self._running or (event.end_s or 0.0) + self._post_s >= seam_s:
                following._events[event.id] = event
        following._running = set(self._running)
        self.sealed, self._known_end_s = True, seam_s
        self._save()
        following._save()
        return following

    def close(self, reason: str | None) -> None:
        """Hand the clip on to be made; `reason` says why nothing more comes (None: the stream has ended)."""
        regular = self.endless and not self._running and reason is None
        self._writer.end(self.job, self._spec(None if regular else reason or "the stream ended"))

    def _save(self) -> None:
        """Write down what holds if the process dies now."""
        spec = self._spec("the run was killed")
        self._writer.put(self.job, lambda job: job.save(spec))

    def _spec(self, cut: str | None) -> ClipSpec:
        """Return what the clip is to be as things stand; `cut` says why it would end here if it had to."""
        end_s = self.end_s if self.end_s < inf else max(self.covered_s, self.start_s)
        return ClipSpec(
            name=self.job.name,
            stream_id=self._stream_id,
            span=Span(self.start_s, end_s, open_end=self.sealed),
            part=self._part,
            events=tuple(dict(event_record(event)) for event in self._events.values()),
            shapes=self._shapes,
            truncated=cut if self.covered_s < self.end_s - SAME_S else None,
            best_s=self._best_s(),
        )

    def _best_s(self) -> float | None:
        best = [event.best for event in self._events.values() if event.best is not None]
        return max(best, key=lambda seen: seen.score).time_s if best else None
