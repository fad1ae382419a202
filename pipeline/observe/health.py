"""How a pipeline is: values that pickle, and how they are made from the counters of the parts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from groundstream.operators.errors import SourceError
from groundstream.operators.sources import SourceCounters, SourceStatus, State
from groundstream.operators.utils.quantiles import NO_SAMPLES, Quantiles, SlidingQuantiles

if TYPE_CHECKING:  # a stream's process does without torch
    from groundstream.operators.detector.batcher import BatcherCounters
    from groundstream.operators.frames import FrameResult
    from groundstream.operators.sinks import SinkWorker

__all__ = [
    "DetectorHealth",
    "PipelineHealth",
    "Quantiles",
    "StreamHealth",
    "StreamMeter",
    "detector_health",
    "stream_health",
]

UNKNOWN = SourceStatus("starting", None, "not started yet", 1)


@dataclass(frozen=True)
class StreamHealth:
    """One stream, as far as it has come. Counts are those of its present process: they restart with it.

    Attributes:
        stream_id: the stream's name in every output.
        state: as the source says, or `failed` once the stream has ended by an error.
        reason: why it is not running, one word (`refused`, `stalled`, `detector_unavailable`, ...); None
            where all is well.
        message: one sentence for a person, without credentials.
        epoch: connection of a camera, from 1.
        read: frames decoded.
        detected: frames that the detector answered.
        stale: frames that it did not answer.
        dropped: frames lost on the way in, and results lost on the way out, by reason.
        restarts: new processes for this stream.
        objects: objects seen in the last result.
        time_s: media time of the last result.
        latency_ms: from the moment a frame was read to its result being with the sinks.
    """

    stream_id: str
    state: State = "starting"
    reason: str | None = None
    message: str = UNKNOWN.message
    epoch: int = 1
    read: int = 0
    detected: int = 0
    stale: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    restarts: int = 0
    objects: int = 0
    time_s: float = 0.0
    latency_ms: Quantiles = NO_SAMPLES


@dataclass(frozen=True)
class DetectorHealth:
    """One detector. Counts are those of its present process.

    Attributes:
        name: of the detector, stable over its restarts.
        device: what it computes on (`cpu`, `cuda:0`).
        pictures: pictures answered.
        batches: batches answered.
        failures: batches that the model failed on.
        busy_s: time that the model worked.
        sizes: how many batches of each size there were.
        queue_wait_ms: from a picture's arrival to the start of its batch.
        inference_ms: from the start of a batch to its answers.
        streams: streams that are placed on it.
        restarts: new processes for this detector.
    """

    name: str
    device: str
    pictures: int = 0
    batches: int = 0
    failures: int = 0
    busy_s: float = 0.0
    sizes: Mapping[int, int] = field(default_factory=dict)
    queue_wait_ms: Quantiles = NO_SAMPLES
    inference_ms: Quantiles = NO_SAMPLES
    streams: int = 0
    restarts: int = 0


@dataclass(frozen=True)
class PipelineHealth:
    """All streams and all detectors of a pipeline."""

    streams: tuple[StreamHealth, ...] = ()
    detectors: tuple[DetectorHealth, ...] = ()


class StreamMeter:
    """Counts what a stream answers; one thread notes, any thread reads.

    Attributes:
        detected: frames that the detector answered.
        stale: frames that it did not answer.
        objects: objects seen in the last result, lost ones left out.
        time_s: media time of the last result.
        latency_ms: from the moment a frame was read to its result being noted.
    """

    def __init__(self) -> None:
        self.detected = self.stale = self.objects = 0
        self.time_s = 0.0
        self.latency_ms = SlidingQuantiles()

    def note(self, result: FrameResult) -> None:
        """Count a result that the sinks have just been given."""
        self.stale += result.stale
        self.detected += not result.stale
        self.objects = sum(seen.state != "lost" for seen in result.objects)
        self.time_s = result.frame.time_s
        # Both ends by the wall clock, in one process; a clock that is set back gives no negative latency.
        self.latency_ms.add(max(0.0, time.time() - result.frame.wall_time) * 1e3)


def stream_health(
    stream_id: str,
    status: SourceStatus | None,
    counters: SourceCounters | None,
    meter: StreamMeter,
    *,
    sinks: Iterable[SinkWorker] = (),
    error: Exception | None = None,
) -> StreamHealth:
    """Put together what the parts of one stream know; `error` is why it ended before its end.

    Restarts are its owner's business, in whose process this may not be.
    """
    state, reason, message, epoch = _standing(status, error)
    return StreamHealth(
        stream_id=stream_id,
        state=state,
        reason=reason,
        message=message,
        epoch=epoch,
        read=counters.frames_read if counters else 0,
        detected=meter.detected,
        stale=meter.stale,
        dropped=_dropped(counters, sinks),
        objects=meter.objects,
        time_s=meter.time_s,
        latency_ms=meter.latency_ms.read(),
    )


def detector_health(name: str, device: str, counters: BatcherCounters) -> DetectorHealth:
    """Take a snapshot of a detector's counters; its streams and restarts are its owner's business."""
    return DetectorHealth(
        name=name,
        device=device,
        pictures=counters.pictures,
        batches=counters.batches,
        failures=counters.failures,
        busy_s=counters.busy_s,
        sizes=dict(counters.sizes),
        queue_wait_ms=counters.queue_wait_ms.read(),
        inference_ms=counters.inference_ms.read(),
    )


def _standing(status: SourceStatus | None, error: Exception | None) -> tuple[State, str | None, str, int]:
    known = status or UNKNOWN
    if error is None:
        return known.state, known.reason and str(known.reason), known.message, known.epoch
    return "failed", reason_of(error), str(error), known.epoch


def reason_of(error: Exception) -> str:
    """Return one word for `error`, fit for a label: a source's own reason, else the kind of the error."""
    if isinstance(error, SourceError):
        return str(error.reason)
    return _REASONS.get(type(error).__name__, "unexpected")


_REASONS = {
    "ConfigError": "configuration",
    "ModelError": "model",
    "DetectorUnavailable": "detector_unavailable",
    "OutputError": "output",
}


def _dropped(counters: SourceCounters | None, sinks: Iterable[SinkWorker]) -> dict[str, int]:
    dropped: Counter[str] = Counter(dict(counters.frames_dropped) if counters else {})
    for sink in sinks:
        if lost := sink.counters.dropped:
            dropped[f"not_written_{sink.name}"] += lost
    return dict(dropped)
