"""What streams and detectors in different processes say to each other. All of it is small but the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from groundstream.models.types import ModelInfo, PicturePlan, Preset, Prompt, SizeRule
from groundstream.operators.detector.client import Moment


class ProcessLost(Exception):  # noqa: N818 -- it is no error of ours: a part of the cluster has gone
    """The process that was asked has died, or cannot be reached."""


@dataclass(frozen=True)
class DetectorFacts:
    """What a stream has to know of the model.

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


class Prepared(NamedTuple):
    """What came of a prompt: `unknown` phrases, and the `texts` (bytes by key) that others may use."""

    unknown: tuple[str, ...]
    texts: Mapping[str, bytes]


class Ask(NamedTuple):
    """A picture on its way to a detector.

    `turn` counts the pictures of one `session` (a stream's time with one detector process), which takes
    them in that order; None is for a picture that had its turn already. `prompt` is the prompt's id once
    the detector has been sent the prompt itself.
    """

    session: str
    turn: int | None
    pixels: NDArray[np.uint8]
    plan: PicturePlan
    prompt: Prompt | str
    moment: Moment


class Found(NamedTuple):
    """An answer: `RawDetections` as plain arrays."""

    boxes_model: NDArray[np.float32]
    phrase_scores: NDArray[np.float32]


class NoAnswer(NamedTuple):
    """The detector could not answer; `message` says why."""

    message: str


class UnknownPrompt(NamedTuple):
    """The detector does not know (any more) the prompt with this `id`: send it."""

    id: str


Answer = Found | NoAnswer | UnknownPrompt


class DetectorLink(Protocol):
    """A way to a detector in another process."""

    def ask(self, ask: Ask) -> Future[Answer]:
        """Send a picture; the future raises `ProcessLost` where the detector's process has gone."""

    def end_stream(self, stream_id: str) -> None:
        """Tell the detector that a stream has ended; nothing is waited for."""
