"""From a checked configuration to objects: the only place that reads it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from groundstream.models.base import Grounder
from groundstream.models.registry import load_grounder
from groundstream.models.types import Prompt
from groundstream.operators.association import PhraseTracker
from groundstream.operators.batcher import Batcher
from groundstream.operators.client import DetectorClient
from groundstream.operators.errors import OutputError
from groundstream.operators.letterbox import Letterbox
from groundstream.operators.phrases import PhraseMemory, PhraseRule
from groundstream.operators.sink_jsonl import JsonlSink
from groundstream.operators.sinks import Sink, SinkWorker, file_of, open_sink
from groundstream.operators.source import Source, SourceOptions, SourceStatus, open_source
from groundstream.operators.text_cache import TextCache, TextEncoder
from groundstream.operators.text_store import default_store_path, open_text_store
from groundstream.operators.tracking import Tracker
from groundstream.operators.video_sink import VideoSink
from groundstream.pipeline.config import (
    RECORDS_NAME,
    VIDEO_NAME,
    ModelConfig,
    OutputConfig,
    RunConfig,
    StreamConfig,
    TrackConfig,
)
from groundstream.pipeline.stream import StreamWorker

LEAVE_RATIO = 0.7  # a phrase ceases to hold at this part of the score at which it began to
SINK_CAPACITY = 64  # results that may wait for a slow sink; each holds its decoded frame
VIDEO_CAPACITY = 8
_GPU_BATCH = 16


def build_text_cache(url: str | None) -> TextCache:
    """Open the text cache: in memory, in front of `url` (a file of the user's own when None).

    Raises:
        ConfigError: the URL is none that is known.
    """
    return TextCache(open_text_store(url or str(default_store_path())))


def build_detector(config: ModelConfig, cache: TextCache) -> Batcher:
    """Load the model and start the detector's thread.

    Raises:
        ModelError: the model cannot be had.
    """
    grounder = load_grounder(config.name, device=config.device, dtype=config.dtype, size_px=config.size_px)
    encoder = TextEncoder(grounder, cache)
    return Batcher(grounder, encoder.encode, config.max_batch or _batch_for(grounder))


def _batch_for(grounder: Grounder) -> int:
    return grounder.preset.cpu_batch if grounder.device.type == "cpu" else _GPU_BATCH


def build_source(config: StreamConfig, stream_id: str, on_status: Callable[[SourceStatus], None]) -> Source:
    """Open one stream's source.

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
    return open_source(config.source, stream_id, options, on_status=on_status)


def build_worker(
    config: RunConfig,
    stream_id: str,
    prompt: Prompt,
    source: Source,
    detector: DetectorClient,
    sinks: list[SinkWorker],
) -> StreamWorker:
    """Put one stream together."""
    score = config.track.score or detector.preset.score
    tracker = PhraseTracker(
        stream_id,
        build_tracker(config.track, score, source),
        PhraseMemory(prompt, _phrase_rule(config.track, score)),
        score=score,
        overlap_iou=detector.preset.overlap_iou,
    )
    return StreamWorker(source, detector, Letterbox(detector.size_rule), tracker, sinks, prompt)


def build_tracker(config: TrackConfig, score: float, source: Source) -> Tracker:
    """Build the tracker with the source's own frame rate as its unit of time, where it is known."""
    rate = source.info.fps if source.info else None
    return Tracker(config.tracker, start_score=score, lost_s=config.lost_s, frame_rate=rate or 30.0)


def _phrase_rule(config: TrackConfig, score: float) -> PhraseRule:
    return PhraseRule(enter=score, leave=LEAVE_RATIO * score, smooth_s=config.smooth_s, life_s=config.life_s)


def output_paths(config: OutputConfig, stream_id: str, several: bool) -> dict[str, Path]:
    """Return the files that `--out` receives for a stream, by kind (`records`, `video`).

    Raises:
        OutputError: the folder cannot be made or written.
    """
    if config.dir is None:
        return {}
    folder = config.dir / stream_id if several else config.dir
    wanted = {"records": RECORDS_NAME} if config.records else {}
    wanted |= {"video": VIDEO_NAME} if config.video else {}
    _make_folder(folder)
    return {kind: folder / name for kind, name in wanted.items()}


def check_outputs(config: OutputConfig, stream_id: str, several: bool) -> None:
    """Refuse to overwrite what an earlier run has written.

    Raises:
        OutputError: an output exists already, or the folder cannot be made.
    """
    wanted = [*output_paths(config, stream_id, several).values()]
    wanted += [file_of(url, stream_id) for url in config.sinks if not url.startswith("redis")]
    for path in wanted:
        if path.is_file() and not config.overwrite:
            raise OutputError(f"{path} exists already; choose another place or add --overwrite")


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
) -> list[SinkWorker]:
    """Open the outputs of one stream, each with its own thread and bounded queue.

    A file waits for a slow sink (nothing is lost); a live stream drops the oldest result instead, counted.

    Raises:
        OutputError: an output cannot be opened.
    """
    sinks: list[tuple[Sink, int]] = []
    paths = output_paths(config, stream_id, several)
    if "records" in paths:
        sinks.append((JsonlSink(paths["records"]), SINK_CAPACITY))
    if "video" in paths:
        sinks.append((VideoSink(paths["video"]), VIDEO_CAPACITY))
    sinks += [(open_sink(url, stream_id), SINK_CAPACITY) for url in config.sinks]
    when_full: Literal["block", "drop_oldest"] = "drop_oldest" if live else "block"
    return [
        SinkWorker(sink, capacity=capacity, when_full=when_full, on_error=on_error)
        for sink, capacity in sinks
    ]
