"""From a checked configuration to what is told and kept of a stream."""

from __future__ import annotations

from pathlib import Path

from groundstream.operators.clips.manager import ClipSettings
from groundstream.operators.events.engine import GONE_S
from groundstream.operators.events.rules import StreamRules
from groundstream.operators.recording.archive import ArchiveSettings, StreamArchive
from groundstream.pipeline.config.events import ClipsConfig
from groundstream.pipeline.config.run import RunConfig, TrackConfig

_DAY_S = 86400.0
_MARGIN_S = 0.7  # settling twice, as counts do


def build_recorder(config: RunConfig, stream_id: str, folder: Path | None) -> StreamArchive:
    """Open what is told and kept of the only stream of `config`.

    Raises:
        OutputError: the index cannot be written.
    """
    return StreamArchive(stream_id, recorder_settings(config), folder)


def recorder_settings(config: RunConfig) -> ArchiveSettings:
    """Return what is kept of the only stream of `config`; clips of events need some rules."""
    clips, rules = config.clips, config.rules_for(config.streams[0])
    told = rules.build() if rules is not None else None
    if told is None and clips.mode == "events":
        told = StreamRules()
    return ArchiveSettings(
        rules=told,
        clips=_clip_settings(config.clips, config.track, told),
        file_s=config.record.segment_s if config.record.on else None,
        ring_bytes=round(clips.pre_mb * 2**20),
        most_bytes=None if config.keep.gb is None else round(config.keep.gb * 2**30),
        most_age_s=None if config.keep.days is None else config.keep.days * _DAY_S,
    )


def _clip_settings(clips: ClipsConfig, track: TrackConfig, told: StreamRules | None) -> ClipSettings | None:
    if clips.mode == "none":
        return None
    # An event is told when it has settled, and what is gone when it has been lost and missed for a while.
    late_s = (told.settle_s if told is not None else 0.0) + track.lost_s + GONE_S + _MARGIN_S
    return ClipSettings(clips.mode, clips.pre_s, clips.post_s, clips.longest_s, late_s)
