"""The processes of a Ray cluster: thin shells around classes that know nothing of Ray.

A stream's process imports no torch: what needs it is imported where a detector begins.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import Mapping

from groundstream.models.types import Prompt, RawDetections
from groundstream.operators.detector import DetectionRequest
from groundstream.pipeline.config.run import RunConfig
from groundstream.pipeline.detectors.messages import DetectorFacts, Prepared, SequenceNumber
from groundstream.pipeline.observe.health import DetectorHealth
from groundstream.pipeline.observe.logs import hush_libraries
from groundstream.pipeline.streams.host import StreamHost, log_to

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of <malloc.h>
_KEPT_BYTES = 128 * 1024  # what glibc starts with, before it adapts to the largest block that was freed


class DetectorActor:
    """A detector process. Asynchronous: pictures are taken while the model runs."""

    def load(self, config: RunConfig, name: str, threads: int | None, beside: int) -> DetectorFacts:
        """Load the model; comes first. See `build_detector_host`.

        Raises:
            ModelError: it cannot be had.
        """
        from groundstream.pipeline.detectors.build import build_detector_host

        hush_libraries()
        self._host = build_detector_host(config, name, threads, beside)
        return self._host.facts

    async def prepare(self, prompt: Prompt) -> Prepared:
        """Encode a prompt."""
        return await asyncio.to_thread(self._host.prepare, prompt)

    async def learn(self, texts: Mapping[str, bytes]) -> None:
        """Take over what another detector has encoded."""
        self._host.learn(texts)

    async def ask(self, request: DetectionRequest, number: SequenceNumber) -> RawDetections:
        """Detect in one picture; its pixels lie in memory that is shared with who sent them.

        Raises:
            DetectorUnavailable: there is no answer.
        """
        return await asyncio.wrap_future(self._host.ask(request, number))

    async def end_stream(self, stream_id: str) -> None:
        """Forget a stream."""
        self._host.end_stream(stream_id)

    async def health(self) -> DetectorHealth:
        """Say how the detector does."""
        return self._host.health


class StreamActor(StreamHost):
    """A stream process; its methods run in threads."""

    def __init__(self, log_level: int) -> None:
        return_freed_memory()
        super().__init__()
        hush_libraries()
        log_to(self, log_level)


def return_freed_memory() -> None:
    """Have blocks of picture size go back to the system when they are freed; does nothing without glibc.

    By itself glibc learns from the first freed picture to serve the next ones from its arenas, one per
    thread, where they leave holes: a stream's process (40 threads of Ray's, av's and ours) takes 60 MB
    more that way. The price is that pages are mapped anew for each picture, 0.15 ms for half a megabyte.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for option, value in ((_MMAP_THRESHOLD, _KEPT_BYTES), (_TRIM_THRESHOLD, _KEPT_BYTES), (_ARENA_MAX, 2)):
        mallopt(option, value)
