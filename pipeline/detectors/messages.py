"""What streams, detectors and their owner in different processes say to each other.

All of it is small but the pixels of a `DetectionRequest`.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from groundstream.models.types import ModelInfo, Preset, RawDetections, SizeRule
from groundstream.operators.detector import DetectionRequest


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


class SequenceNumber(NamedTuple):
    """A request's place: its value, from 0, in a `session` (a stream's time with one detector process)."""

    session: str
    value: int


class DetectorLink(Protocol):
    """A way to a detector in another process."""

    def ask(self, request: DetectionRequest, number: SequenceNumber) -> Future[RawDetections]:
        """Send a copy of `request`; its `number` puts it in order, as calls may overtake each other.

        The future raises `DetectorUnavailable` where the detector has no answer, and `ProcessLost` where its
        process has gone.
        """

    def end_stream(self, stream_id: str) -> None:
        """Tell the detector that a stream has ended; nothing is waited for."""
