"""Cuts clips out of a recording after the fact, annotated with what was detected then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import av

from groundstream.operators.clips.pieces import Piece
from groundstream.operators.clips.render import render_span
from groundstream.operators.clips.spec import ClipFiles, ClipSpec, Span, clip_name
from groundstream.operators.clips.timeline import LONGEST_GAP_S
from groundstream.operators.recording.files import PART, is_part
from groundstream.operators.recording.index_reader import (
    IndexedRecording,
    find_indexes,
    frames_between,
    segments_between,
)
from groundstream.operators.video.joined_file import FileFacts


@dataclass(frozen=True)
class TimePoint:
    """A point in time of a recording: on the clock of the wall, or on that of the medium.

    Attributes:
        wall: seconds since 1970 (UTC); None where `media_s` is given.
        media_s: seconds of the media clock; None where `wall` is given.
    """

    wall: float | None = None
    media_s: float | None = None

    def within(self, recording: IndexedRecording) -> float:
        """Return the moment on the media clock of `recording`, in seconds; may lie outside of it."""
        if self.media_s is not None:
            return self.media_s
        assert self.wall is not None, "a time point has one of two clocks"
        return recording.file.start_s + self.wall - recording.file.start_wall


def export_span(
    folder: Path, start: TimePoint, end: TimePoint, out: Path, stream: str | None = None
) -> tuple[ClipFiles, ...]:
    """Cut everything that was recorded between two moments into clips, one for each stream, run and epoch.

    Args:
        folder: what a run with a recording has written, of one stream or of many.
        start: the first moment.
        end: the last moment.
        out: where the clips go; made when needed.
        stream: only this stream.

    Returns:
        The clips; none where nothing was recorded.

    Raises:
        OutputError: an index or a file cannot be read, or a clip cannot be written.
    """
    found = [each for each in segments_between(folder, stream=stream) if _reaches(each, start, end)]
    found.sort(key=lambda each: (*_whole(each), each.file.start_s))
    clips: list[ClipFiles] = []
    for _, group in groupby(found, key=_whole):
        clips += _cut(list(group), start, end, out)
    return tuple(clips)


def growing_files(folder: Path, end: TimePoint, stream: str | None = None) -> tuple[Path, ...]:
    """Return the files before `end` that are still being recorded, from which nothing can be cut yet."""
    parts = [part for index in find_indexes(folder) for part in index.parent.glob(f"*/*{PART}")]
    return tuple(part for part in sorted(parts) if is_part(part.name) and _grows_before(part, end, stream))


def _grows_before(part: Path, end: TimePoint, stream: str | None) -> bool:
    try:
        facts = FileFacts.read(part)
    except (OSError, av.FFmpegError):  # its head is not written yet, or it was finished just now
        return False
    if facts is None or facts.stream_id != (stream or facts.stream_id):
        return False
    return facts.start_s <= end.media_s if end.media_s is not None else facts.start_wall <= (end.wall or 0.0)


def _whole(recording: IndexedRecording) -> tuple[str, int, int]:
    """Return what files must have in common to be cut into one clip."""
    return str(recording.index), recording.run, recording.file.epoch


def _reaches(recording: IndexedRecording, start: TimePoint, end: TimePoint) -> bool:
    file = recording.file
    return file.start_s <= end.within(recording) and file.end_s > start.within(recording)


def _cut(
    recordings: Sequence[IndexedRecording], start: TimePoint, end: TimePoint, out: Path
) -> tuple[ClipFiles, ...]:
    first, last = recordings[0], recordings[-1]
    span = Span(max(start.within(first), first.file.start_s), min(end.within(last), last.file.end_s))
    start_wall = first.file.start_wall + span.start_s - first.file.start_s
    spec = ClipSpec(clip_name(start_wall, "export", first.file.stream_id), first.file.stream_id, span)
    pieces = [
        Piece(file.path, file.epoch, file.start_s, file.end_s, file.start_wall)
        for file in (recording.file for recording in recordings)
    ]
    observations = [
        observation
        for recording in recordings
        for observation in frames_between(recording, span.start_s - LONGEST_GAP_S, span.end_s + LONGEST_GAP_S)
        if recording.file.start_s <= observation.time_s < recording.file.end_s or len(recordings) == 1
    ]
    out.mkdir(parents=True, exist_ok=True)
    return render_span(pieces, observations, spec, out)
