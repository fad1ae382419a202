"""The outputs of one stream: where they lie, whether they may be written, what they hold; opens them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from groundstream.operators.errors import OutputError
from groundstream.operators.sinks import Sink, SinkWorker, file_of, is_standard_output, open_sink, writes_file
from groundstream.operators.sinks.record_files import JsonlSink
from groundstream.operators.sinks.resume import (
    NOTHING,
    ExistingOutput,
    Resume,
    existing_output,
    existing_video,
    whole_bytes,
)
from groundstream.operators.sinks.server import MOST_AHEAD
from groundstream.operators.sinks.video import VideoSink
from groundstream.operators.utils.files import explain
from groundstream.pipeline.config.run import EVENTS_NAME, RECORDS_NAME, VIDEO_NAME, OutputConfig

SINK_CAPACITY = 64  # results that may wait for a slow sink; each holds its decoded frame
VIDEO_CAPACITY = 8


class StreamOutputs:
    """What `--out` and `--sink` ask for one stream. Nothing is touched before it is asked.

    Args:
        config: the run's outputs.
        stream_id: the stream, for the names of folder and files.
        own_folder: whether its files lie in a folder of its own below the run's.
        events: whether there are events to be written.

    Attributes:
        folder: for the stream's files; None where the run has none.
    """

    def __init__(
        self, config: OutputConfig, stream_id: str, *, own_folder: bool = False, events: bool = False
    ) -> None:
        self.folder = config.dir / stream_id if config.dir is not None and own_folder else config.dir
        self._stream_id, self._urls, self._overwrite = stream_id, config.sinks, config.overwrite
        self._events = self._path(EVENTS_NAME) if events else None
        self._records = self._path(RECORDS_NAME) if config.records else None
        self._video = self._path(VIDEO_NAME) if config.video else None

    @property
    def records(self) -> Path | None:
        """The JSONL file of records, where times of frames can be looked up; None where there is none."""
        return self._records

    def check(self) -> None:
        """Refuse to overwrite what an earlier run has written.

        Raises:
            OutputError: an output exists already, or the folder cannot be made.
        """
        self._make_folder()
        self.check_absent()

    def check_absent(self) -> None:
        """Refuse to overwrite what an earlier run has written; touches nothing.

        Raises:
            OutputError: an output exists already.
        """
        wanted = [path for path in (self._records, self._video, self._events) if path is not None]
        files = (url for url in self._urls if writes_file(url) and not is_standard_output(url))
        wanted += [file_of(url, self._stream_id) for url in files]
        for path in wanted:
            if path.is_file() and not self._overwrite:
                raise OutputError(
                    f"{path} exists already; choose another place or add --overwrite "
                    "(overwrite=True in Python)"
                )

    def existing(self, resume: Resume) -> dict[str, ExistingOutput]:
        """Return what the outputs hold of a stream whose process died: `records`, `video`, sinks by URL."""
        # A server cannot be asked: what may have waited for it, in the queue or in the sink, is sent again.
        waited = SINK_CAPACITY + MOST_AHEAD
        sent = ExistingOutput(max(-1, resume.last.seq - waited) if resume.last else -1)
        found = {url: self._existing_at(url, resume.live) if writes_file(url) else sent for url in self._urls}
        if self._records is not None:
            found["records"] = existing_output("jsonl", self._records, resume.live)
        if self._video is not None:
            found["video"] = existing_video(self._video)
        return found

    def open(
        self,
        *,
        live: bool,
        on_error: Callable[[str, Exception], None],
        existing: Mapping[str, ExistingOutput] = MappingProxyType({}),
        extra_sinks: Sequence[Sink] = (),
    ) -> list[SinkWorker]:
        """Open the outputs, each with its own thread and bounded queue.

        A file waits for a slow sink (nothing is lost); a live stream drops the oldest result instead,
        counted. Those that are `existing`, of a process that died, are continued; `extra_sinks` are open
        already.

        Raises:
            OutputError: an output cannot be opened.
        """
        self._make_folder()
        sinks: list[tuple[Sink, int, ExistingOutput]] = []
        if self._records is not None:
            old = existing.get("records", NOTHING)
            sinks.append((JsonlSink(self._records, old.size_bytes, "detections"), SINK_CAPACITY, old))
        if self._events is not None:
            whole = whole_bytes(self._events) if existing and self._events.is_file() else 0
            sinks.append((JsonlSink(self._events, whole, "events"), SINK_CAPACITY, NOTHING))
        if self._video is not None:
            old = existing.get("video", NOTHING)
            sinks.append((VideoSink(self._video, old.parts), VIDEO_CAPACITY, old))
        for url in self._urls:
            old = existing.get(url, NOTHING)
            sinks.append((open_sink(url, self._stream_id, old.size_bytes), SINK_CAPACITY, old))
        sinks += [(sink, SINK_CAPACITY, NOTHING) for sink in extra_sinks]
        when_full: Literal["block", "drop_oldest"] = "drop_oldest" if live else "block"
        return [
            SinkWorker(sink, capacity=capacity, when_full=when_full, on_error=on_error, after_seq=old.seq)
            for sink, capacity, old in sinks
        ]

    def _path(self, name: str) -> Path | None:
        return self.folder / name if self.folder is not None else None

    def _existing_at(self, url: str, live: bool) -> ExistingOutput:
        return existing_output(url.partition(":")[0], file_of(url, self._stream_id), live)

    def _make_folder(self) -> None:
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot make the output folder {self.folder}: {explain(error)}; choose another --out"
            ) from None
        if not os.access(self.folder, os.W_OK):
            raise OutputError(f"the output folder {self.folder} cannot be written; choose another --out")
