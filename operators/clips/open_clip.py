"""A clip that is not over yet: its span, its events, and how far its video reaches."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

from groundstream.operators.clips.spec import ClipSpec, Span
from groundstream.operators.clips.timeline import LONGEST_GAP_S, SAME_S, Observation
from groundstream.operators.clips.writer import ClipWriter
from groundstream.operators.events.event import Event
from groundstream.operators.records import event_record
from groundstream.operators.video.segment import Segment
from groundstream.operators.video.shape import Shape

_OBSERVATION_BYTES, _OBJECT_BYTES = 200, 200  # what an observation and an object of it take in memory, about


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
        """Take what was seen if it tells something of the clip."""
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
