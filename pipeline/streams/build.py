"""From a checked configuration to the objects of a stream.

Only this module and `build_detector.py` read the configuration. They are two, because a stream's process
does without torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from groundstream.models.types import Prompt
from groundstream.operators.detector.client import DetectorClient
from groundstream.operators.detector.letterbox import Letterbox
from groundstream.operators.errors import OutputError
from groundstream.operators.frames import Position
from groundstream.operators.sinks.jsonl import JsonlSink
from groundstream.operators.sinks.open import Sink, SinkWorker, file_of, open_sink, writes_file
from groundstream.operators.sinks.resume import (
    NOTHING,
    ExistingOutput,
    Resume,
    existing_output,
    existing_video,
    whole_bytes,
)
from groundstream.operators.sinks.video import VideoSink
from groundstream.operators.sources.open import Source, SourceOptions, SourceStatus, open_source
from groundstream.operators.tracking.association import PhraseTracker
from groundstream.operators.tracking.phrases import PhraseMemory, PhraseRule
from groundstream.operators.tracking.tracker import Tracker
from groundstream.operators.video.tap import PacketTap
from groundstream.pipeline.config.run import (
    EVENTS_NAME,
    RECORDS_NAME,
    VIDEO_NAME,
    OutputConfig,
    RunConfig,
    StreamConfig,
    TrackConfig,
)
from groundstream.pipeline.streams.worker import StreamWorker

if TYPE_CHECKING:
    from groundstream.operators.recording.archive import Recorder

LEAVE_RATIO = 0.7  # a phrase ceases to hold at this part of the score at which it began to
SINK_CAPACITY = 64  # results that may wait for a slow sink; each holds its decoded frame
VIDEO_CAPACITY = 8


def build_source(
    config: StreamConfig,
    stream_id: str,
    on_status: Callable[[SourceStatus], None],
    after: Position | None = None,
    tap: PacketTap | None = None,
) -> Source:
    """Open one stream's source, to go on after the frame `after` where its process died.

    Raises:
        SourceError: a file that cannot be read (a camera that is down is waited for).
    """
    options = SourceOptions(
        semantics=config.semantics,
        start_s=config.start_s,
        end_s=config.end_s,
        fps=config.fps,
        transport=config.transport,
        hwaccel=config.hwaccel,
        patience_s=config.patience_s,
    )
    source = open_source(config.source, stream_id, options, on_status=on_status, tap=tap)
    if after is not None:
        source.go_on_after(after)
    return source


def build_worker(
    config: RunConfig,
    stream_id: str,
    prompt: Prompt,
    source: Source,
    detector: DetectorClient,
    sinks: list[SinkWorker],
    first_track: int = 1,
    recorder: Recorder | None = None,
) -> StreamWorker:
    """Put one stream together, whose tracks are numbered from `first_track` on."""
    score = config.track.score or detector.preset.score
    tracker = PhraseTracker(
        stream_id,
        build_tracker(config.track, score, source, first_track),
        PhraseMemory(prompt, _phrase_rule(config.track, score)),
        score=score,
        overlap_iou=detector.preset.overlap_iou,
    )
    letterbox = Letterbox(detector.size_rule)
    return StreamWorker(source, detector, letterbox, tracker, sinks, prompt, recorder)


def build_tracker(config: TrackConfig, score: float, source: Source, first_track: int = 1) -> Tracker:
    """Build the tracker with the source's own frame rate as its unit of time, where it is known."""
    rate = (source.info.fps if source.info else None) or 30.0
    return Tracker(
        config.tracker, start_score=score, lost_s=config.lost_s, frame_rate=rate, first_id=first_track
    )


def _phrase_rule(config: TrackConfig, score: float) -> PhraseRule:
    return PhraseRule(enter=score, leave=LEAVE_RATIO * score, smooth_s=config.smooth_s, life_s=config.life_s)


def output_folder(config: OutputConfig, stream_id: str, several: bool) -> Path | None:
    """Return the folder for a stream's files; None where the run has none."""
    return config.dir / stream_id if config.dir is not None and several else config.dir


def output_paths(
    config: OutputConfig, stream_id: str, several: bool, events: bool = False
) -> dict[str, Path]:
    """Return the files that `--out` receives for a stream, by kind (`records`, `video`, `events`).

    Raises:
        OutputError: the folder cannot be made or written.
    """
    folder = output_folder(config, stream_id, several)
    if folder is None:
        return {}
    wanted = {"records": RECORDS_NAME} if config.records else {}
    wanted |= {"video": VIDEO_NAME} if config.video else {}
    wanted |= {"events": EVENTS_NAME} if events else {}
    _make_folder(folder)
    return {kind: folder / name for kind, name in wanted.items()}


def check_outputs(config: OutputConfig, stream_id: str, several: bool, events: bool = False) -> None:
    """Refuse to overwrite what an earlier run has written.

    Raises:
        OutputError: an output exists already, or the folder cannot be made.
    """
    wanted = [*output_paths(config, stream_id, several, events).values()]
    wanted += [file_of(url, stream_id) for url in config.sinks if not url.startswith("redis")]
    for path in wanted:
        if path.is_file() and not config.overwrite:
            raise OutputError(f"{path} exists already; choose another place or add --overwrite")


def kept_outputs(
    config: OutputConfig, stream_id: str, several: bool, resume: Resume
) -> dict[str, ExistingOutput]:
    """Return what the outputs of a stream hold whose process died: `records`, `video`, and sinks by URL.

    A server cannot be asked: what may have waited in the queue for it is sent again.
    """
    paths, live = output_paths(config, stream_id, several), resume.live
    sent = ExistingOutput(max(-1, resume.last.seq - SINK_CAPACITY) if resume.last else -1)
    kept = {
        url: existing_output(*_file_of(url, stream_id), live) if writes_file(url) else sent
        for url in config.sinks
    }
    if "records" in paths:
        kept["records"] = existing_output("jsonl", paths["records"], live)
    if "video" in paths:
        kept["video"] = existing_video(paths["video"])
    return kept


def _file_of(url: str, stream_id: str) -> tuple[str, Path]:
    return url.partition(":")[0], file_of(url, stream_id)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the output folder {folder}: {error.strerror}; choose another --out"
        ) from None
    if not os.access(folder, os.W_OK):
        raise OutputError(f"the output folder {folder} cannot be written; choose another --out")


def build_sinks(
    config: OutputConfig,
    stream_id: str,
    *,
    several: bool,
    live: bool,
    on_error: Callable[[str, Exception], None],
    kept: Mapping[str, ExistingOutput] = MappingProxyType({}),
    events: bool = False,
    further: Sequence[Sink] = (),
) -> list[SinkWorker]:
    """Open the outputs of one stream, each with its own thread and bounded queue.

    A file waits for a slow sink (nothing is lost); a live stream drops the oldest result instead, counted.
    Those that are `kept` from a process that died are continued; `further` ones are open already.

    Raises:
        OutputError: an output cannot be opened.
    """
    sinks: list[tuple[Sink, int, ExistingOutput]] = []
    paths = output_paths(config, stream_id, several, events)
    if "records" in paths:
        old = kept.get("records", NOTHING)
        sinks.append((JsonlSink(paths["records"], "detections", old.size_bytes), SINK_CAPACITY, old))
    if "events" in paths:
        whole = whole_bytes(paths["events"]) if kept and paths["events"].is_file() else 0
        sinks.append((JsonlSink(paths["events"], "events", whole), SINK_CAPACITY, NOTHING))
    if "video" in paths:
        old = kept.get("video", NOTHING)
        sinks.append((VideoSink(paths["video"], old.parts), VIDEO_CAPACITY, old))
    for url in config.sinks:
        old = kept.get(url, NOTHING)
        sinks.append((open_sink(url, stream_id, old.size_bytes), SINK_CAPACITY, old))
    sinks += [(sink, SINK_CAPACITY, NOTHING) for sink in further]
    when_full: Literal["block", "drop_oldest"] = "drop_oldest" if live else "block"
    return [
        SinkWorker(sink, capacity=capacity, when_full=when_full, on_error=on_error, after_seq=old.seq)
        for sink, capacity, old in sinks
    ]
