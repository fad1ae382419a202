"""How a stream asks a detector, in this process or in another: hand in a request, get the answer later."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from groundstream.models.types import ModelInfo, Preset, Prompt, RawDetections, SizeRule
from groundstream.operators.detector.letterbox import ModelPicture


@dataclass(frozen=True)
class FrameTime:
    """Whose picture it is, and when it was taken: what a detector with a temporal memory goes by.

    Attributes:
        stream_id: the stream that the memory belongs to.
        epoch: a memory of another epoch is forgotten.
        time_s: media clock in seconds; one that is not later than the last is answered but not remembered.
    """

    stream_id: str
    epoch: int
    time_s: float


@dataclass(frozen=True, eq=False)
class DetectionRequest:
    """A picture on its way to a detector, until it is answered: one class for it wherever it waits.

    The stream makes it, the batcher queues it, a detector in another process is sent a copy of it. What is
    pickled is the question; the copy waits for an answer of its own, on the clock of its own process.

    Attributes:
        picture: (H, W, 3) uint8 RGB on the model's canvas, and the plan that leads back to the frame.
        prompt: the phrases that are asked.
        frame_time: whose picture it is, and when.
        answer: candidates in canvas pixels; raises `DetectorUnavailable` where no answer comes.
        asked_s: `time.perf_counter` of this process when the request came into it.
    """

    picture: ModelPicture
    prompt: Prompt
    frame_time: FrameTime
    answer: Future[RawDetections] = field(default_factory=Future, init=False)
    asked_s: float = field(default_factory=time.perf_counter, init=False)

    def __reduce__(self) -> tuple[type[DetectionRequest], tuple[ModelPicture, Prompt, FrameTime]]:
        # A future belongs to its process, and clocks of two machines have nothing to do with each other.
        return type(self), (self.picture, self.prompt, self.frame_time)


class DetectorClient(Protocol):
    """A detector as a stream sees it, in this process or in another.

    Attributes:
        info: who the model is.
        preset: the numbers of its score scale.
        size_rule: the size of the pictures that it takes.
        max_batch: how many pictures it takes at once, at most.
    """

    info: ModelInfo
    preset: Preset
    size_rule: SizeRule
    max_batch: int

    def prepare(self, prompt: Prompt) -> tuple[str, ...]:
        """Encode `prompt` ahead of its first frame; return the phrases that the model cannot know.

        Raises:
            ValueError: a phrase is longer than the model's text limit.
        """

    def submit(self, request: DetectionRequest) -> Future[RawDetections]:
        """Have `request` answered; return its `answer`, which raises where none comes.

        Requests of one stream are submitted in the order of their frames.
        """

    def end_stream(self, stream_id: str) -> None:
        """Forget what is remembered of a stream that has ended; unknown ids are fine."""

    def close(self) -> None:
        """Answer what waits with `DetectorUnavailable` and stop; may be called twice."""
