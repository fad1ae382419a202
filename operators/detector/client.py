"""How a stream asks a detector: hand in a picture, get the answer later."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from groundstream.models.types import ModelInfo, Preset, Prompt, RawDetections, SizeRule
from groundstream.operators.detector.letterbox import Picture


@dataclass(frozen=True)
class Moment:
    """Whose picture it is, and when: what a detector with a temporal memory goes by.

    Attributes:
        stream_id: the stream that the memory belongs to.
        epoch: a memory of another epoch is forgotten.
        time_s: media clock in seconds; one that is not later than the last is answered but not remembered.
    """

    stream_id: str
    epoch: int
    time_s: float


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

    def submit(self, picture: Picture, prompt: Prompt, moment: Moment) -> Future[RawDetections]:
        """Ask for `prompt` in `picture`; the future raises `DetectorUnavailable` where no answer comes.

        Pictures of one stream are submitted in the order of their moments.
        """

    def end_stream(self, stream_id: str) -> None:
        """Forget what is remembered of a stream that has ended; unknown ids are fine."""

    def close(self) -> None:
        """Answer what waits with `DetectorUnavailable` and stop; may be called twice."""
