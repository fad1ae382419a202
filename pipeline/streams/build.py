"""From a checked configuration to the objects of a stream.

Of a stream's parts only this module and `outputs` read the configuration; the others get values. What loads
the model is `detectors/build`, apart from here, because a stream's process does without torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from groundstream.operators.clips.settings import ClipSettings
from groundstream.operators.detector import DetectorClient, Letterbox
from groundstream.operators.events.engine import GONE_S, RuleEngine
from groundstream.operators.events.rules import StreamRules
from groundstream.operators.frames import Position
from groundstream.operators.sinks import SinkWorker
from groundstream.operators.sinks.resume import first_track
from groundstream.operators.sources import Source, SourceStatus, open_source
from groundstream.operators.tracking import PhraseMemory, PhraseRule, PhraseTracker, Tracker
from groundstream.operators.video.tap import PacketTap
from groundstream.pipeline.config.run import RunConfig, TrackConfig
from groundstream.pipeline.streams.base import StreamSpec
from groundstream.pipeline.streams.outputs import StreamOutputs
from groundstream.pipeline.streams.worker import StreamWorker

if TYPE_CHECKING:
    from groundstream.operators.recording.archive import ArchiveSettings, StreamArchive
    from groundstream.operators.video.segment import Segment

LEAVE_RATIO = 0.7  # a phrase ceases to hold at this part of the score at which it began to
_DAY_S = 86400.0
#: A count settles on what its tracks have settled already: so much later than other events it may come.
_MARGIN_S = 0.7


def build_source(
    spec: StreamSpec,
    on_status: Callable[[SourceStatus], None],
    after: Position | None = None,
    tap: PacketTap | None = None,
) -> Source:
    """Open a stream's source, to go on after the frame `after` where its process died.

    Raises:
        SourceError: a file that cannot be read (a camera that is down is waited for).
    """
    options, resume = spec.stream.options, spec.resume
    if after is not None and resume is not None and (resume.has_end or not resume.live):
        options = dataclasses.replace(options, start_s=max(0.0, after.time_s))
    source = open_source(spec.stream.source, spec.id, options, on_status=on_status, tap=tap)
    if after is not None:
        source.resume_after(after)
    return source


def build_tap(spec: StreamSpec, on_segment: Callable[[Segment], None]) -> PacketTap | None:
    """Return what hands on a source's own video, where clips or recordings are made of it."""
    return PacketTap(on_segment, _ring_bytes(spec.config)) if spec.config.stores_video else None


def build_outputs(spec: StreamSpec) -> StreamOutputs:
    """Return a stream's outputs, of which none is opened yet."""
    events = spec.config.has_events(spec.stream)
    return StreamOutputs(spec.config.output, spec.id, own_folder=spec.own_folder, events=events)


def build_worker(
    spec: StreamSpec,
    source: Source,
    detector: DetectorClient,
    sinks: Sequence[SinkWorker],
    archive: StreamArchive | None,
) -> StreamWorker:
    """Put one stream together."""
    track = spec.config.track
    score = track.score or detector.preset.score
    rule = PhraseRule(enter=score, leave=LEAVE_RATIO * score, smooth_s=track.smooth_s, life_s=track.life_s)
    tracker = PhraseTracker(
        spec.id,
        build_tracker(track, score, source, first_track(spec.resume)),
        PhraseMemory(spec.prompt, rule),
        score=score,
        overlap_iou=detector.preset.overlap_iou,
    )
    letterbox = Letterbox(detector.size_rule)
    asked = stream_rules(spec.config)
    rules = None if asked is None else RuleEngine(spec.id, asked)
    return StreamWorker(source, detector, letterbox, tracker, sinks, spec.prompt, rules, archive)


def build_tracker(config: TrackConfig, score: float, source: Source, first_track: int = 1) -> Tracker:
    """Build the tracker with the source's own frame rate as its unit of time, where it is known."""
    rate = (source.info.fps if source.info else None) or 30.0
    return Tracker(
        config.tracker, start_score=score, lost_s=config.lost_s, frame_rate=rate, first_id=first_track
    )


def build_archive(spec: StreamSpec, outputs: StreamOutputs) -> StreamArchive | None:
    """Open the index, clips and recording of a stream; None where nothing is kept.

    Raises:
        OutputError: the index cannot be written.
    """
    if outputs.folder is None or not spec.config.has_events(spec.stream):
        return None
    from groundstream.operators.recording.archive import (
        StreamArchive,  # with SQLite, rendering: only where wanted
    )

    return StreamArchive(spec.id, archive_settings(spec.config), outputs.folder)


def stream_rules(config: RunConfig) -> StreamRules | None:
    """Return the rules of the only stream of `config`; clips of events need some."""
    rules = config.rules_for(config.streams[0])
    return StreamRules() if rules is None and config.clips.mode == "events" else rules


def archive_settings(config: RunConfig) -> ArchiveSettings:
    """Return what is kept of the only stream of `config`."""
    from groundstream.operators.clips.spec import shapes_of
    from groundstream.operators.recording.archive import ArchiveSettings

    clips, rules = config.clips, stream_rules(config)
    # An event is emitted when it has settled, and what is gone when it has been lost and missed for a while.
    late_s = (rules.settle_s if rules is not None else 0.0) + config.track.lost_s + GONE_S + _MARGIN_S
    clip_settings = None
    if clips.mode != "none":
        clip_settings = ClipSettings(
            mode=clips.mode,
            pre_s=clips.pre_s,
            post_s=clips.post_s,
            longest_s=clips.longest_s,
            late_s=late_s,
        )
    return ArchiveSettings(
        clips=clip_settings,
        shapes=shapes_of(rules),
        file_s=config.recording.segment_s if config.recording is not None else None,
        ring_bytes=_ring_bytes(config),
        most_bytes=None if config.keep.gb is None else round(config.keep.gb * 2**30),
        most_age_s=None if config.keep.days is None else config.keep.days * _DAY_S,
    )


def _ring_bytes(config: RunConfig) -> int:
    return round(config.clips.pre_mb * 2**20)
