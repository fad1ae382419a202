"""A grounder with a memory: the backbone sees all frames at once, the adapter a stream's one by one.

A batch holds frames of many streams, and several of one stream where that is a file that looks ahead. What
is frozen (backbone, text, grounding) depends on no other frame, so it runs once on the whole batch. What
remembers does: the second frame of a stream needs the memory that the first one has written. So the batch
is taken in waves, the first frame of every stream, then the second of those that have one; a wave is one
call of the adapter, over different streams. A live stream has one frame in a batch at most, and the usual
batch of live streams is one wave.

    pixels (B, H, W, 3) -> backbone -> levels (B, C, H_l, W_l) -> waves (plan, gather, adapt, write) -> ground

A frame that cannot go through the adapter (no room for its stream's memory) keeps the backbone's own
features, so that it is answered as the frozen model answers: the memory may fail, the detector does not.
What fails in the model itself fails the whole batch (`Batcher` says so to every caller, and the frames are
stale); the next frame of each stream then finds its memory as it was last written.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundstream.models.base import Grounder, Query
from groundstream.models.temporal.base import TemporalAdapter
from groundstream.models.temporal.memory import MemoryFull, MemoryPool
from groundstream.models.temporal.scene_cut import SceneCuts, Verdict, describe
from groundstream.models.types import ImageFeatures, RawDetections
from groundstream.operators.detector.client import FrameTime

#: a frame that is earlier than the last by less is late, one by more means that somebody went back.
SEEK_BACK_S = 1.0
#: a stream that was not seen for so long, on this machine's clock, is forgotten.
IDLE_S = 120.0

log = logging.getLogger("groundstream.detector")


@dataclass
class TemporalCounters:
    """What happened to the memories since the start.

    Attributes:
        resets: memories dropped for a new epoch, another picture size or a step back in time.
        cuts: scene cuts.
        flashes: cuts that were taken back, as the old scene came again.
        late: frames that were answered but not remembered.
        broken: frames whose features were not finite; answered without memory, not remembered.
        evicted: memories of streams that were gone without a word.
        without_room: frames answered without memory, as there was no room for another stream's.
    """

    resets: int = 0
    cuts: int = 0
    flashes: int = 0
    late: int = 0
    broken: int = 0
    evicted: int = 0
    without_room: int = 0


@dataclass
class _Stream:
    """What is known of a stream beside its memory.

    Attributes:
        epoch: its epoch at the last frame.
        shape: canvas and content of its pictures.
        written_s: media time at which its memory was last written; None while it is empty.
        aside_s: the same of the memory that a scene cut has set aside.
        seen_s: this machine's clock at the last frame.
    """

    epoch: int
    shape: tuple[int, ...]
    seen_s: float
    written_s: float | None = None
    aside_s: float | None = None
    cuts: SceneCuts = field(default_factory=SceneCuts)

    def goes_on(self, frame: FrameTime, shape: tuple[int, ...]) -> bool:
        """Whether a frame can have anything to do with what was seen before."""
        back = self.written_s is not None and frame.time_s < self.written_s - SEEK_BACK_S
        return (self.epoch, self.shape) == (frame.epoch, shape) and not back


@dataclass(frozen=True)
class _Plan:
    """What one frame does with its stream's memory: the arguments of `TemporalAdapter.step`."""

    row: int
    stream_id: str
    dt_s: float
    keep: bool
    write: bool


class TemporalDetector:
    """Answers pictures of many streams with a frozen grounder, an adapter and a bounded memory per stream.

    A stream that finds no room in the pool is answered as without adapter. Not for several threads at once,
    except `end_stream`.
    """

    def __init__(
        self,
        grounder: Grounder,
        adapter: TemporalAdapter,
        pool: MemoryPool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.adapter, self.counters = adapter, TemporalCounters()
        self._grounder, self._pool, self._clock = grounder, pool, clock
        self._streams: dict[str, _Stream] = {}
        self._ended: deque[str] = deque()
        self._full = False

    @torch.inference_mode()
    def detect(
        self, pixels: Tensor, content_px: Tensor, queries: Sequence[Query], times: Sequence[FrameTime]
    ) -> list[RawDetections]:
        """Find each picture's own query in it; see `Grounder.detect`.

        Args:
            pixels: (B, H, W, 3) uint8 RGB, all of one canvas size.
            content_px: (B, 2) int64 height and width of the picture inside the canvas.
            queries: per picture the text features of its prompt.
            times: per picture whose it is and when; those of one stream in their order.

        Raises:
            ValueError: the number of queries or times is not the number of pictures.
        """
        if not len(pixels) == len(queries) == len(times):
            raise ValueError(
                f"expected {len(pixels)} queries and times, one per picture, "
                f"but got {len(queries)} and {len(times)}"
            )
        # Here and not in `end_stream`, which other threads call while a batch is under way.
        self._forget()
        features = self._grounder.encode_image(pixels, content_px)
        # Text meets the features only after the memory: one memory serves whatever is asked, and a change of
        # the prompt loses nothing.
        adapted = replace(features, levels=self._adapt(features, times))
        return self._grounder.ground_queries(adapted, queries, self._grounder.preset.floor)

    def end_stream(self, stream_id: str) -> None:
        """Forget a stream before the next frame; unknown ids are fine, any thread may call."""
        self._ended.append(stream_id)

    def _adapt(self, features: ImageFeatures, times: Sequence[FrameTime]) -> tuple[Tensor, ...]:
        # What a grounder keeps behind its pyramid (the picture itself, for a branch of its own) passes by.
        levels = features.levels[: self._grounder.features.levels]
        descriptors = describe(levels)
        # A memory is only of use while its cells mean the same places, and the canvas alone does not say so:
        # two pictures of one canvas may hold content of different sizes.
        shapes = [(*features.canvas_px, *content) for content in features.content_px.tolist()]
        waves: list[tuple[list[int], list[Tensor]]] = []
        for rows in waves_of([frame.stream_id for frame in times]):
            # All plans of a wave come before its step: they move memories between slots, which it reads.
            plans = [self._plan(row, times[row], shapes[row], descriptors[row]) for row in rows]
            plans = [plan for plan in plans if self._has_room(plan, levels)]
            if plans:
                waves.append(([plan.row for plan in plans], self._step(levels, plans)))
        return (*_gathered(levels, waves), *features.levels[len(levels) :])

    def _step(self, levels: Sequence[Tensor], plans: Sequence[_Plan]) -> list[Tensor]:
        """Run the adapter on one frame each of different streams."""
        rows, keys = [plan.row for plan in plans], [plan.stream_id for plan in plans]
        # (R, C, H_l, W_l) levels and the memories of R different streams; what comes back replaces both.
        changed, memory = self.adapter.step(
            [_take(level, rows) for level in levels],
            self._pool.gather(keys),
            torch.tensor([plan.dt_s for plan in plans]),
            torch.tensor([plan.keep for plan in plans]),
            torch.tensor([plan.write for plan in plans]),
        )
        self._pool.write(keys, memory)  # a copy into the slots, in the pool's own type (float16 on a GPU)
        return changed

    def _plan(
        self, row: int, frame: FrameTime, shape: tuple[int, ...], descriptor: NDArray[np.float32]
    ) -> _Plan:
        """Decide what a frame does with the memory; memories move between their slots here."""
        stream_id, stream = frame.stream_id, self._current(frame, shape)
        past_s = 0.0 if stream.written_s is None else frame.time_s - stream.written_s
        if not np.isfinite(descriptor).all():
            # A NaN that is remembered would be in every frame from now on.
            self.counters.broken += 1
            return _Plan(row, stream_id, past_s, keep=False, write=False)
        if stream.written_s is not None and past_s <= 0:
            # Reordered or repeated by the camera: it may look at the memory, but must not turn time back.
            self.counters.late += 1
            return _Plan(row, stream_id, 0.0, keep=True, write=False)
        self._follow(stream_id, stream, stream.cuts.update(descriptor, frame.time_s))
        # Anew: after a cut the memory is another one, and so is the time since it was written.
        past_s = 0.0 if stream.written_s is None else frame.time_s - stream.written_s
        stream.written_s = frame.time_s
        return _Plan(row, stream_id, past_s, keep=True, write=True)

    def _current(self, frame: FrameTime, shape: tuple[int, ...]) -> _Stream:
        """Return what is known of the frame's stream, begun anew where the memory is of no use any more."""
        now_s, stream = self._clock(), self._streams.get(frame.stream_id)
        if stream is None or not stream.goes_on(frame, shape):
            self.counters.resets += stream is not None
            self._drop(frame.stream_id)
            stream = self._streams[frame.stream_id] = _Stream(frame.epoch, shape, now_s)
        stream.seen_s = now_s
        return stream

    def _follow(self, stream_id: str, stream: _Stream, verdict: Verdict) -> None:
        """Begin an empty memory after a cut, and take the old one back after a flash."""
        if verdict is Verdict.CUT:
            # The old memory is not thrown away yet: a flash, or a hand before the lens, looks like a cut too.
            self._pool.move(stream_id, _aside(stream_id))
            stream.aside_s, stream.written_s = stream.written_s, None
            self.counters.cuts += 1
        elif verdict is Verdict.AGAIN:
            # A second cut while the first is in doubt: what came between them is of no use to anybody.
            self._pool.close(stream_id)
            stream.written_s = None
        elif verdict is Verdict.BACK:
            self._pool.move(_aside(stream_id), stream_id)
            stream.written_s = stream.aside_s
            self.counters.flashes += 1
        if not stream.cuts.waiting:
            # The cut has proved to be one (or there was none): a second slot per stream only while in doubt.
            self._pool.close(_aside(stream_id))

    def _has_room(self, plan: _Plan, levels: Sequence[Tensor]) -> bool:
        """Make sure that the frame's stream has a slot; say once that there is no room."""
        if plan.stream_id in self._pool:
            return True
        # A slot is as large as this stream's own maps: (1, C, H_l, W_l) per level.
        empty = self.adapter.empty([level[:1] for level in levels])
        if not self._pool.has_room(empty):
            self._pool.close(_aside(plan.stream_id))  # what is in doubt goes before what is needed
        try:
            self._pool.open(plan.stream_id, empty)
        except MemoryFull as error:
            if not self._full:
                log.warning("streams are answered without temporal memory: %s", error)
            self._full = True
            # Tried again with every frame: room comes when another stream ends, and then the memory is empty.
            self._streams[plan.stream_id].written_s = None
            self.counters.without_room += 1
            return False
        return True

    def _forget(self) -> None:
        """Give back the memory of streams that have ended, and of those that were gone without a word."""
        while self._ended:
            self._drop(self._ended.popleft())
        oldest_s = self._clock() - IDLE_S
        for stream_id in [name for name, stream in self._streams.items() if stream.seen_s < oldest_s]:
            self._drop(stream_id)
            self.counters.evicted += 1

    def _drop(self, stream_id: str) -> None:
        self._streams.pop(stream_id, None)
        self._pool.close(stream_id)
        self._pool.close(_aside(stream_id))


def waves_of(stream_ids: Sequence[str]) -> list[list[int]]:
    """Return rows in waves: the first frame of every stream, then the second of those that have one, ..."""
    waves: list[list[int]] = []
    seen: dict[str, int] = {}
    for row, stream_id in enumerate(stream_ids):
        number = seen.get(stream_id, 0)
        seen[stream_id] = number + 1
        if number == len(waves):
            waves.append([])
        waves[number].append(row)
    return waves


def _aside(stream_id: str) -> tuple[str, str]:
    """Return the key of the slot for what a scene cut has set aside."""
    return ("aside", stream_id)


def _take(level: Tensor, rows: Sequence[int]) -> Tensor:
    """Return the rows of a (B, C, H, W) map; a view where that is possible."""
    if len(rows) == len(level):
        return level
    if len(rows) == 1:
        return level[rows[0] : rows[0] + 1]
    return level.index_select(0, torch.tensor(rows, device=level.device))


def _gathered(levels: Sequence[Tensor], waves: Sequence[tuple[list[int], list[Tensor]]]) -> list[Tensor]:
    """Return `levels` with the rows that each wave has changed, in the layout that they had."""
    if len(waves) == 1 and len(waves[0][0]) == len(levels[0]):  # the usual case costs no copy
        return waves[0][1]
    out = []
    for number, level in enumerate(levels):
        parts = list(torch.split(level, 1))
        for rows, changed in waves:
            for row, part in zip(rows, torch.split(changed[number], 1), strict=True):
                parts[row] = part
        joined = torch.cat(parts)
        # `cat` of one-row pieces forgets the layout that the grounding's convolutions were chosen for.
        channels_last = level.is_contiguous(memory_format=torch.channels_last)
        out.append(joined.contiguous(memory_format=torch.channels_last) if channels_last else joined)
    return out
