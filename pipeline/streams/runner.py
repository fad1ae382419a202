"""One stream in whichever process: its source, its worker and its outputs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from groundstream.models.types import Prompt
from groundstream.operators.detector import DetectorClient
from groundstream.operators.errors import GroundstreamError
from groundstream.operators.frames import FrameResult, Position
from groundstream.operators.sinks import Sink, SinkWorker
from groundstream.operators.sinks.resume import ExistingOutput, Resume, resume_position
from groundstream.operators.sources import Source, SourceStatus
from groundstream.pipeline.observe.health import StreamMeter, stream_health
from groundstream.pipeline.streams.base import OnResult, StreamSpec, StreamView
from groundstream.pipeline.streams.build import (
    build_archive,
    build_outputs,
    build_source,
    build_tap,
    build_worker,
)
from groundstream.pipeline.streams.worker import StreamWorker

if TYPE_CHECKING:
    from groundstream.operators.recording.archive import StreamArchive
    from groundstream.operators.video.segment import Segment

log = logging.getLogger("groundstream.pipeline")


class StreamRunner:
    """Opens one stream, runs it to its end, and can say at any moment how it does.

    `open`, `attach` and `run` follow each other in one thread; the rest may be called from any.

    Attributes:
        error: the first reason for which the stream or one of its outputs failed.
        worker: the loop; None before `attach`.
    """

    def __init__(self, spec: StreamSpec, on_error: Callable[[Exception], None] | None = None) -> None:
        self.spec = spec
        self.error: Exception | None = None
        self.worker: StreamWorker | None = None
        self._on_error = on_error or (lambda error: None)
        self._detector: DetectorClient | None = None
        self._source: Source | None = None
        self._sinks: list[SinkWorker] = []
        self._own_outputs: list[SinkWorker] = []  # of `_sinks`, without the owner, which never fails
        self._owner_listens = False
        self._status: SourceStatus | None = None
        self._meter = StreamMeter()
        self._last: Position | None = None
        self._existing: dict[str, ExistingOutput] = {}
        self._outputs = build_outputs(spec)
        self._tap = build_tap(spec, self._keep_segment)
        self._archive: StreamArchive | None = None
        self._stopped = False

    def open(self) -> None:
        """Open the source; where the stream's process died, behind what its outputs hold.

        Raises:
            SourceError: it cannot be read.
        """
        after = self._resume_position(self.spec.resume) if self.spec.resume is not None else None
        self._source = build_source(self.spec, self._note_status, after, self._tap)

    def check_outputs(self) -> None:
        """Refuse to overwrite what an earlier run has written.

        Raises:
            OutputError: an output exists already, or its folder cannot be made.
        """
        if self.spec.resume is None:
            self._outputs.check()

    def attach(self, detector: DetectorClient, owner: Sink | None = None) -> None:
        """Open the outputs, of which the stream's `owner` may be one, and put the stream together.

        Raises:
            OutputError: an output cannot be opened.
        """
        assert self._source is not None, "attach before open"
        self._detector = detector
        self._sinks = self._outputs.open(
            live=self._source.semantics == "live",
            on_error=self._sink_failed,
            existing=self._existing,
            extra_sinks=[] if owner is None else [owner],
        )
        self._own_outputs = self._sinks if owner is None else self._sinks[:-1]
        if self._tap is not None and self._tap.absent is not None:
            log.warning("stream %s: no clips, no recording: %s", self.spec.id, self._tap.absent)
        self._archive = build_archive(self.spec, self._outputs)
        self.worker = build_worker(self.spec, self._source, detector, self._sinks, self._archive)

    def run(self, on_result: OnResult | None = None, *, owner_listens: bool = False) -> None:
        """Run to the end of the source or until `stop`; then close. What fails is kept in `error`.

        A stream whose outputs have all failed ends, unless its owner takes results.
        """
        assert self.worker is not None, "run before attach"
        self._owner_listens = owner_listens
        try:
            for result in self.worker:
                self._note(result)
                if on_result is not None:
                    on_result(result)
        except GroundstreamError as error:
            self._note_error(error)
        except Exception as error:
            log.exception("stream %s: an error that should not happen", self.spec.id)
            self._note_error(error)
        finally:
            self.close()

    def owner_left(self) -> None:
        """Go on without the owner, which takes no results any more; end where no output is left either."""
        self._owner_listens = False
        self._stop_for_nobody()

    def step(self) -> FrameResult | None:
        """Answer one frame; None when the source has ended."""
        assert self.worker is not None, "step before attach"
        result = self.worker.step()
        if result is not None:
            self._note(result)
        return result

    def set_prompt(self, prompt: Prompt) -> tuple[str, ...]:
        """Ask `prompt` from the next result on; return the phrases that the model cannot know.

        Raises:
            ValueError: a phrase is too long for the model; the old prompt stays.
        """
        assert self.worker is not None, "set_prompt before attach"
        return self.worker.set_prompt(prompt)

    @property
    def view(self) -> StreamView:
        """The stream now."""
        source = self._source
        health = stream_health(
            self.spec.id,
            self._status,
            source.counters if source else None,
            self._meter,
            sinks=self._sinks,
            error=self.error,
        )
        return StreamView(
            health,
            live=source is not None and source.semantics == "live",
            duration_s=source.info.duration_s if source and source.info else None,
            results=self._results,
            dropped=health.dropped,
            last=self._last,
        )

    @property
    def _results(self) -> int:
        """Frames answered; every frame of a file is, so that their number is known also after a restart."""
        if self._source is not None and self._source.semantics == "file" and self._last is not None:
            return self._last.seq + 1
        return self._meter.detected + self._meter.stale

    def stop(self) -> None:
        """End soon; frames that are with the detector are still answered."""
        self._stopped = True
        if self._source is not None:
            self._source.close()

    def close(self) -> None:
        """Stop, finish the outputs and free what the detector remembers; may be called twice."""
        reason = str(self.error) if self.error else "the run was stopped" if self._stopped else None
        self.stop()
        if self.worker is not None:
            self.worker.end(reason)
        archive, self._archive = self._archive, None
        for sink in self._sinks:
            sink.close()
        if archive is not None:
            archive.close()
        if self._detector is not None:
            self._detector.end_stream(self.spec.id)

    def _keep_segment(self, segment: Segment) -> None:
        if (archive := self._archive) is not None:
            archive.add_segment(segment)

    def _resume_position(self, resume: Resume) -> Position | None:
        """Return the frame after which the stream goes on."""
        self._existing = self._outputs.existing(resume)
        after = resume_position(resume, self._existing.values(), self._outputs.records)
        place = f"frame {after.seq}" if after else "its beginning"
        log.info("stream %s: goes on after %s", self.spec.id, place)
        return after

    def _note_error(self, error: Exception) -> None:
        self.error = self.error or error
        self._on_error(error)

    def _sink_failed(self, sink: str, error: Exception) -> None:
        self._note_error(error)
        self._stop_for_nobody()

    def _stop_for_nobody(self) -> None:
        if not self._owner_listens and all(worker.failed for worker in self._own_outputs):
            self.stop()

    def _note_status(self, status: SourceStatus) -> None:
        self._status = status
        if self.worker is not None and status.state in ("stalled", "reconnecting"):
            self.worker.interrupt(status.message)

    def _note(self, result: FrameResult) -> None:
        self._meter.note(result)
        frame = result.frame
        before = self._last.tracks if self._last and self._last.epoch == frame.epoch else 0
        tracks = max(before, *(seen.number for seen in result.objects), 0)
        self._last = Position(frame.epoch, frame.seq, frame.time_s, tracks)
