"""Where a stream goes on whose process died: what its files hold, and from which frame on it is done again.

A file is cut back to whole frames and grows on. Frames that one output holds and another does not are
answered again, and each output takes only those that it lacks: after the run every frame is in every file,
once. A camera cannot be asked again; it goes on in a new epoch.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from groundstream.operators.frames import Position
from groundstream.operators.records.detection import SCHEMA
from groundstream.operators.sinks.record_files import CSV_COLUMNS

TRACKS_APART = 1000  # numbers of tracks go on behind the next multiple of this
_BLOCK_BYTES = 1 << 16
_LOOK_BACK = 5000  # lines in which the time of a frame is looked for
_TICK_S = 5e-6  # less than the distance of two frames, more than the rounding of their times in records


@dataclass(frozen=True)
class Resume:
    """What the owner knows of a stream whose process died.

    Attributes:
        last: the last frame that it heard of; None where there was none.
        delivered: number of the last frame that a reader of results was handed; None where nobody reads.
        live: whether the newest frame wins, so that what was missed is missed.
        has_end: whether it has a known length, so that one can jump in it.
    """

    last: Position | None
    delivered: int | None
    live: bool
    has_end: bool


@dataclass(frozen=True)
class ExistingOutput:
    """What an output holds of a stream.

    Attributes:
        seq: the last frame in it; -1 where there is none.
        time_s: media time of that frame; None where the output does not say.
        epoch: its epoch.
        size_bytes: so much of the file is whole.
        parts: files that a video consists of.
    """

    seq: int = -1
    time_s: float | None = None
    epoch: int = 1
    size_bytes: int = 0
    parts: int = 0


NOTHING = ExistingOutput()


def existing_output(kind: str, path: Path, live: bool) -> ExistingOutput:
    """Return what the file `path` of `kind` (`jsonl`, `csv`, `mot`, `coco`) holds.

    The last frame of formats with several lines per frame may be cut between them: where it can be done
    again (not `live`), it is left out.
    """
    path = path.with_name(f"{path.name}.part") if kind == "coco" else path
    if not path.is_file():
        return NOTHING
    whole = whole_bytes(path)
    frame_of = _FRAME_OF[kind]
    last: ExistingOutput | None = None
    for offset, line in lines_backwards(path):
        frame = frame_of(line)
        if last is not None and (frame is None or frame.seq != last.seq):
            break
        if frame is not None:
            last = ExistingOutput(frame.seq, frame.time_s, frame.epoch, offset)
    if last is None:
        return NOTHING
    if live or kind == "jsonl":
        return ExistingOutput(last.seq, last.time_s, last.epoch, whole)
    time_s = None if last.time_s is None else last.time_s - 2 * _TICK_S
    return ExistingOutput(last.seq - 1, time_s, last.epoch, last.size_bytes)


def existing_video(path: Path) -> ExistingOutput:
    """Return how many frames the parts of an annotated video hold, which shows every frame."""
    from groundstream.operators.sinks.video import part_path  # heavy: only where there is a video

    frames = parts = 0
    while (part := part_path(path, parts + 1)).is_file():
        frames, parts = frames + _frames_in(part), parts + 1
    return ExistingOutput(frames - 1, parts=parts)


def resume_position(
    resume: Resume, outputs: Iterable[ExistingOutput], records: Path | None
) -> Position | None:
    """Return the frame after which a stream goes on; None: from its beginning.

    Args:
        resume: what its owner knows.
        outputs: what each of its outputs holds.
        records: its JSONL file, where times of frames can be looked up.
    """
    known = list(outputs)
    if resume.live:
        return _furthest(resume, known)
    seqs = [each.seq for each in known] + ([] if resume.delivered is None else [resume.delivered])
    if not seqs:
        return resume.last
    seq = min(seqs)
    times = {each.seq: each.time_s for each in known if each.time_s is not None}
    if resume.last is not None:
        times.setdefault(resume.last.seq, resume.last.time_s)
    time_s = times.get(seq) if seq >= 0 else None
    if time_s is None and seq >= 0 and records is not None:
        time_s = _time_of(seq, records)
    return None if time_s is None else Position(1, seq, time_s, resume.last.tracks if resume.last else 0)


def first_track(resume: Resume | None) -> int:
    """Return the number of the next track: none that was given before comes again.

    What was given since the owner last heard of the stream, a fraction of a second ago, is far less than
    the distance of `TRACKS_APART`.
    """
    if resume is None or resume.last is None:
        return 1
    return (resume.last.tracks // TRACKS_APART + 1) * TRACKS_APART + 1


def whole_bytes(path: Path) -> int:
    """Return the size of a text file without a last line that was cut."""
    for offset, line in lines_backwards(path):
        return offset + len(line) + 1
    return 0


def lines_backwards(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines of a file from the last to the first, with their offsets, without line ends."""
    with path.open("rb") as file:
        start = file.seek(0, os.SEEK_END)
        tail, cut = b"", True  # what follows the last line end is no whole line
        while start > 0:
            size = min(_BLOCK_BYTES, start)
            start = file.seek(start - size)
            lines = (file.read(size) + tail).split(b"\n")
            if cut and len(lines) > 1:
                lines.pop()
                cut = False
            offset = start + sum(len(line) + 1 for line in lines)
            if not cut:
                for line in reversed(lines[1:]):
                    offset -= len(line) + 1
                    yield offset, line
            tail = lines[0]
        if not cut:
            yield 0, tail


def _furthest(resume: Resume, outputs: Iterable[ExistingOutput]) -> Position | None:
    """Return the newest frame that anybody has heard of."""
    known = [Position(each.epoch, each.seq, each.time_s or 0.0) for each in outputs if each.seq >= 0]
    known += [resume.last] if resume.last else []
    return max(known, key=lambda position: position.seq, default=None)


def _time_of(seq: int, records: Path) -> float | None:
    for number, (_, line) in enumerate(lines_backwards(records)):
        frame = _frame_of_jsonl(line)
        if frame is not None and frame.seq == seq:
            return frame.time_s
        if number > _LOOK_BACK:
            break
    return None


@dataclass(frozen=True)
class _FrameLine:
    """The frame that a line of a file belongs to."""

    seq: int
    time_s: float | None = None
    epoch: int = 1


def _frame_of_jsonl(line: bytes) -> _FrameLine | None:
    made = json.loads(line)
    if made.get("schema") != SCHEMA:
        return None
    return _FrameLine(made["seq"], made["time_s"], made["epoch"])


_CSV_PLACES = tuple(CSV_COLUMNS.index(name) for name in ("epoch", "seq", "time_s"))


def _frame_of_csv(line: bytes) -> _FrameLine | None:
    row = next(csv.reader([line.decode("utf-8", "surrogateescape")]))
    epoch, seq, time_s = (row[at] for at in _CSV_PLACES)
    return _FrameLine(int(seq), float(time_s), int(epoch)) if seq.isdecimal() else None


def _frame_of_mot(line: bytes) -> _FrameLine | None:
    return _FrameLine(int(line.split(b",", 1)[0]) - 1)


def _frame_of_coco(line: bytes) -> _FrameLine | None:
    """Only the row of the image: those of its boxes lie behind it."""
    image = json.loads(line).get("images")
    return _FrameLine(image["frame_id"], image["time_s"]) if image else None


_FRAME_OF: dict[str, Callable[[bytes], _FrameLine | None]] = {
    "jsonl": _frame_of_jsonl,
    "csv": _frame_of_csv,
    "mot": _frame_of_mot,
    "coco": _frame_of_coco,
}


def _frames_in(part: Path) -> int:
    """Return how many frames of a video can be played; its last fragment may be cut."""
    import av

    try:
        with av.open(str(part)) as container:
            return sum(packet.size > 0 for packet in container.demux(video=0))
    except av.FFmpegError:
        return 0
