"""From recorded pieces and what was seen in them to a clip: annotated, raw, its thumbnail and its facts.

The facts stand beside a clip as JSON (`groundstream.clip/1`): its events, its clock, every box drawn in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import chain, pairwise
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import cv2
import numpy as np
import supervision as sv
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from groundstream.operators.clips.job import PENDING
from groundstream.operators.clips.pieces import (
    Piece,
    RawVideo,
    in_order,
    raw_suffix,
    read_piece,
    runs_of,
    write_raw,
)
from groundstream.operators.clips.spec import FILE_KINDS, ClipFiles, ClipSpec, Shape, Span, file_names
from groundstream.operators.clips.timeline import SAME_S, Observation, Tracks
from groundstream.operators.errors import OutputError
from groundstream.operators.frames import SeenObject
from groundstream.operators.utils.files import explain
from groundstream.operators.utils.times import rfc3339
from groundstream.operators.video.annotate import Annotator
from groundstream.operators.video.containers import CLOCK
from groundstream.operators.video.writer import VideoFile

_JPEG_QUALITY = 85
_ENCODER_THREADS = 2  # the live streams come first
SCHEMA = "groundstream.clip/1"


def render_span(
    pieces: Sequence[Piece],
    observations: Sequence[Observation],
    spec: ClipSpec,
    folder: Path,
    *,
    on_frame: Callable[[], None] = lambda: None,
) -> tuple[ClipFiles, ...]:
    """Make the clip that `spec` asks for out of recorded pieces.

    Files are written into `folder/.pending/<name>` and moved into place when all are complete, the facts
    last. Where codec or size change, another clip begins beside the first (`<name>-2`).

    Args:
        pieces: of one epoch, in any order; may reach beyond the span.
        observations: what was seen in that epoch, in any order.
        spec: name, span and what to draw.
        folder: where the clip goes.
        on_frame: called for each decoded picture, as a sign of life.

    Returns:
        The clips; none where no picture lies in the span.

    Raises:
        ValueError: pieces of several epochs.
        OutputError: a file cannot be read or written; what was begun is gone again.
    """
    needed, tracks = _reaching(in_order(pieces), spec.span), Tracks(observations)
    work = folder / PENDING / spec.name
    made: list[tuple[ClipOutput, ClipFiles]] = []
    try:
        with ExitStack() as outputs:
            for number, run in enumerate(runs_of(needed), start=1):
                name = spec.name if number == 1 else f"{spec.name}-{number}"
                output = outputs.enter_context(ClipOutput(work, folder, file_names(name, raw_suffix(run))))
                files = _make(run, tracks, spec, output, on_frame)
                if files is not None:
                    made.append((output, files))
            # The first one's facts go last of all: where they are, everything is.
            for output, _ in reversed(made):
                output.move()
    except (OSError, av.FFmpegError) as error:
        raise _cannot_make(spec.name, folder, error) from error
    return tuple(files for _, files in made)


def _reaching(pieces: Sequence[Piece], span: Span) -> list[Piece]:
    """Return the pieces that reach into the span; each begins with a key frame, so it can be decoded."""
    return [p for p in pieces if p.end_s > span.start_s - SAME_S and p.start_s <= span.end_s + SAME_S]


def _make(
    run: Sequence[Piece], tracks: Tracks, spec: ClipSpec, output: ClipOutput, on_frame: Callable[[], None]
) -> ClipFiles | None:
    """Write the files of a clip of pieces of one format; None where no picture lies in the span."""
    drawn = _draw(run, tracks, spec, output, on_frame)
    if drawn is None:
        return None
    (_, start_s, start_wall), (_, end_s, end_wall) = drawn.frames[0], drawn.frames[-1]
    raw = write_raw(run, start_s, end_s, output.raw)
    facts = clip_facts(spec, run, drawn, raw, output.names)
    output.facts.write_text(json.dumps(facts, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    return ClipFiles(
        *output.targets, run[0].epoch, start_s, end_s, start_wall, end_wall, frames=len(drawn.frames)
    )


def _draw(
    run: Sequence[Piece], tracks: Tracks, spec: ClipSpec, output: ClipOutput, on_frame: Callable[[], None]
) -> DrawnFrames | None:
    """Write the annotated video and the picture of the best moment; None where there is no picture."""
    frames = _frames(run, spec.span, on_frame)
    first = next(frames, None)
    if first is None:
        return None
    start_s, size = first[0], (first[1].height, first[1].width)
    painter, drawn = _Painter(size, tracks, spec.shapes), DrawnFrames(size)
    video, best = (
        VideoFile(output.annotated, size, threads=_ENCODER_THREADS),
        _Best(_best_s(run, tracks, spec)),
    )
    for time_s, picture in chain([first], frames):
        # One clock for the whole clip: packets come in bursts, and a computer's clock may jump.
        objects, wall = tracks.at(time_s), run[0].start_wall + time_s - run[0].start_s
        bgr = painter(picture, objects, wall)
        drawn.add(video.write(bgr, time_s - start_s), time_s, wall, objects)
        best.offer(time_s, bgr)
    video.close()
    best.save(output.thumbnail)
    return drawn


def _frames(
    run: Sequence[Piece], span: Span, on_frame: Callable[[], None]
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield the pictures of the span in order, each once, also where pieces overlap."""
    last_s = -inf
    for piece in run:
        for time_s, picture in read_piece(piece):
            on_frame()
            if time_s > span.end_s + SAME_S:
                break
            if time_s > last_s + SAME_S and span.holds(time_s):
                last_s = time_s
                yield time_s, picture


def _best_s(run: Sequence[Piece], tracks: Tracks, spec: ClipSpec) -> float:
    """Return the moment to show in small: the asked one, else that of the highest score, else the middle."""
    start_s = max(spec.span.start_s, run[0].start_s)
    end_s = min(spec.span.end_s, run[-1].end_s)
    if spec.best_s is not None and start_s <= spec.best_s <= end_s:
        return spec.best_s
    seen_s = tracks.best_s(start_s, end_s)
    return (start_s + end_s) / 2 if seen_s is None else seen_s


class _Painter:
    """Draws everything on pictures of one size."""

    def __init__(self, size: tuple[int, int], tracks: Tracks, shapes: Sequence[Shape]) -> None:
        self._size, self._shapes = size, shapes
        self._classes = {phrase: number for number, phrase in enumerate(tracks.phrases())}
        self._annotator, self._to_bgr = Annotator(*size), VideoReformatter()

    def __call__(
        self, picture: av.VideoFrame, objects: Sequence[SeenObject], wall: float
    ) -> NDArray[np.uint8]:
        height, width = self._size
        frame = self._to_bgr.reformat(picture, width=width, height=height, format="bgr24")
        bgr = np.ascontiguousarray(frame.to_ndarray(), np.uint8)
        for shape in self._shapes:
            self._annotator.outline(bgr, shape.name, shape.points, closed=shape.closed)
        self._annotator.objects(bgr, self._detections(objects))
        return self._annotator.clock(bgr, wall)

    def _detections(self, objects: Sequence[SeenObject]) -> sv.Detections:
        height, width = self._size
        boxes = np.array([seen.box for seen in objects], np.float64).reshape(-1, 4)
        return sv.Detections(
            xyxy=np.round(boxes * (width, height, width, height)).astype(np.float32),
            confidence=np.array([seen.score for seen in objects], np.float32),
            class_id=np.array([self._classes[seen.phrase] for seen in objects], np.int64),
            data={
                "track_uid": np.array([seen.track_id for seen in objects], np.str_),
                "phrase": np.array([seen.phrase for seen in objects], np.str_),
            },
        )


class _Best:
    """Keeps the first picture at or after a moment; the last one where there is none."""

    def __init__(self, best_s: float) -> None:
        self._best_s, self._found = best_s, False
        self._picture: NDArray[np.uint8] | None = None

    def offer(self, time_s: float, picture_bgr: NDArray[np.uint8]) -> None:
        if not self._found:
            self._picture, self._found = picture_bgr, time_s >= self._best_s - SAME_S

    def save(self, path: Path) -> None:
        assert self._picture is not None
        _, data = cv2.imencode(".jpg", self._picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        path.write_bytes(data.tobytes())


class ClipOutput:
    """The files of one clip while it is made: all go into place, or none, and never over another file.

    A context that leaves nothing of an unfinished clip behind.

    The facts go into place last: a clip that has them is complete. A dead run may have got halfway: what it
    had moved is one file with what it had written, is known by that, and is taken back.
    """

    def __init__(self, work: Path, folder: Path, names: Mapping[str, str]) -> None:
        """Take where files are written, where they go, and their names.

        Raises:
            OutputError: a file of such a name is there already.
            OSError: the folders cannot be written.
        """
        self.names = names
        self._work, self._folder = work, folder
        work.mkdir(parents=True, exist_ok=True)
        for name in names.values():
            _take_back(work / name, folder / name)
        self.annotated, self.raw, self.thumbnail, self.facts = (work / names[kind] for kind in FILE_KINDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self.names.values():
            (self._work / name).unlink(missing_ok=True)
        if not any(self._work.iterdir()):
            self._work.rmdir()

    @property
    def targets(self) -> tuple[Path, Path, Path, Path]:
        """Where the files go: annotated, raw, thumbnail, facts."""
        annotated, raw, thumbnail, facts = (self._folder / self.names[kind] for kind in FILE_KINDS)
        return annotated, raw, thumbnail, facts

    def move(self) -> None:
        """Move the files into place.

        Raises:
            OSError: that cannot be done.
        """
        for target in self.targets:
            _flush(self._work / target.name)
        for target in self.targets:
            _link(self._work / target.name, target)


def _take_back(written: Path, target: Path) -> None:
    if not target.exists():
        return
    if not (written.exists() and written.samefile(target)):
        raise OutputError(f"{target} is there already; clips are never overwritten: move it away")
    target.unlink()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _link(written: Path, target: Path) -> None:
    """Give a file its place without ever taking another's; without links where the file system has none."""
    try:
        os.link(written, target)
    except FileExistsError:
        raise
    except OSError:
        if target.exists():
            raise FileExistsError(f"{target} is there already") from None
        written.rename(target)


def _cannot_make(name: str, folder: Path, error: Exception) -> OutputError:
    detail = explain(error) if isinstance(error, OSError) else str(error)
    return OutputError(f"cannot make the clip {name} in {folder}: {detail}")


@dataclass
class DrawnFrames:
    """What was drawn, frame by frame.

    Attributes:
        size: (height, width) of the upright pictures in pixels.
        frames: of each its stamp in the clip (in 1/90000 s), media time and wall time (in seconds).
        tracks: for each track id, or each phrase of objects without one, what is known of it.
    """

    size: tuple[int, int]
    frames: list[tuple[int, float, float]] = field(default_factory=list)
    tracks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, pts: int, time_s: float, wall: float, objects: Iterable[SeenObject]) -> None:
        """Note a frame with its objects."""
        self.frames.append((pts, round(time_s, 6), round(wall, 3)))
        for seen in objects:
            self._note(time_s, seen)

    def _note(self, time_s: float, seen: SeenObject) -> None:
        fresh: dict[str, Any] = {
            "track_id": seen.track_id or None,
            "phrase": seen.phrase,
            "score": 0.0,
            "boxes": [],
        }
        track = self.tracks.setdefault(seen.track_id or f"?{seen.phrase}", fresh)
        if seen.score >= track["score"]:
            track["phrase"], track["score"] = seen.phrase, round(seen.score, 4)
        height, width = self.size
        box = [round(part * side, 2) for part, side in zip(seen.box, (width, height) * 2, strict=True)]
        track["boxes"].append(
            {"time_s": round(time_s, 6), "box": box, "score": round(seen.score, 4), "state": seen.state}
        )


def clip_facts(
    spec: ClipSpec, pieces: Sequence[Piece], drawn: DrawnFrames, raw: RawVideo, names: Mapping[str, str]
) -> dict[str, Any]:
    """Return the facts of a clip, ready for JSON.

    Args:
        spec: what was asked.
        pieces: what it was made of.
        drawn: what became of it; at least one frame.
        raw: its raw twin.
        names: file names by kind (`annotated`, `raw`, `thumbnail`).
    """
    (_, start_s, start_wall), (_, end_s, end_wall) = drawn.frames[0], drawn.frames[-1]
    height, width = drawn.size
    return {
        "schema": SCHEMA,
        "name": spec.name,
        "part": spec.part,
        "stream_id": spec.stream_id,
        "epoch": pieces[0].epoch,
        "events": [dict(event) for event in spec.events],
        "asked": asdict(spec.span),
        "got": {"start_s": start_s, "end_s": end_s, "frames": len(drawn.frames), "gaps": gaps(pieces)},
        "start_wall": rfc3339(start_wall),
        "end_wall": rfc3339(end_wall),
        "truncated": spec.truncated,
        "width": width,
        "height": height,
        "files": dict(names),
        "raw": {
            "start_s": round(raw.start_s, 6),
            "end_s": round(raw.end_s, 6),
            "note": "starts at the key frame at or before the clip's start",
        },
        "shapes": [asdict(shape) for shape in spec.shapes],
        "phrases": sorted({track["phrase"] for track in drawn.tracks.values()}),
        "tracks": list(drawn.tracks.values()),
        "time_base": str(CLOCK),
        "frames": [list(frame) for frame in drawn.frames],
    }


def gaps(pieces: Sequence[Piece]) -> list[tuple[float, float]]:
    """Return the ranges of media time between pieces for which there is no video."""
    return [(a.end_s, b.start_s) for a, b in pairwise(pieces) if b.start_s > a.end_s + 10 * SAME_S]
