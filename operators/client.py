"""How a stream asks a detector: hand in a picture, get the answer later."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from groundstream.models.types import ModelInfo, Preset, Prompt, RawDetections, SizeRule
from groundstream.operators.letterbox import Picture


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

    def submit(self, picture: Picture, prompt: Prompt) -> Future[RawDetections]:
        """Ask for `prompt` in `picture`; the future raises `DetectorUnavailable` where no answer comes."""

    def close(self) -> None:
        """Answer what waits with `DetectorUnavailable` and stop; may be called twice."""
