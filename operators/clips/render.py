"""From recorded pieces and what was seen in them to a clip: annotated, raw, its facts and its best moment."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from math import inf
from pathlib import Path

import av
import cv2
import numpy as np
import supervision as sv
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from groundstream.operators.clips.facts import DrawnFrames, facts_of
from groundstream.operators.clips.order import ClipFiles, ClipOrder, Span
from groundstream.operators.clips.pieces import Piece, in_order, read_piece, runs_of
from groundstream.operators.clips.place import PENDING, ClipPlace, names_of
from groundstream.operators.clips.raw import raw_suffix, remux
from groundstream.operators.clips.timeline import SAME_S, Look, Tracks
from groundstream.operators.errors import OutputError
from groundstream.operators.frames import SeenObject
from groundstream.operators.video.annotate import Annotator, Shape
from groundstream.operators.video.writer import VideoFile

_JPEG_QUALITY = 85
_ENCODER_THREADS = 2  # the live streams come first


def render_span(
    pieces: Sequence[Piece],
    looks: Sequence[Look],
    order: ClipOrder,
    folder: Path,
    *,
    on_frame: Callable[[], None] = lambda: None,
) -> tuple[ClipFiles, ...]:
    """Make the clip that `order` asks for out of recorded pieces.

    Files are written into `folder/.pending/<name>` and moved into place when all are complete, the facts
    last. Where codec or size change, another clip begins beside the first (`<name>-2`).

    Args:
        pieces: of one epoch, in any order; may reach beyond the span.
        looks: what was seen in that epoch, in any order.
        order: name, span and what to draw.
        folder: where the clip goes.
        on_frame: called for each decoded picture, as a sign of life.

    Returns:
        The clips; none where no picture lies in the span.

    Raises:
        ValueError: pieces of several epochs.
        OutputError: a file cannot be read or written; what was begun is gone again.
    """
    needed, tracks = _reaching(in_order(pieces), order.span), Tracks(looks)
    work = folder / PENDING / order.name
    made: list[tuple[ClipPlace, ClipFiles]] = []
    try:
        with ExitStack() as places:
            for number, run in enumerate(runs_of(needed), start=1):
                name = order.name if number == 1 else f"{order.name}-{number}"
                place = places.enter_context(ClipPlace(work, folder, names_of(name, raw_suffix(run))))
                files = _make(run, tracks, order, place, on_frame)
                if files is not None:
                    made.append((place, files))
            # The first one's facts go last of all: where they are, everything is.
            for place, _ in reversed(made):
                place.move()
    except (OSError, av.FFmpegError) as error:
        raise _cannot_make(order.name, folder, error) from error
    return tuple(files for _, files in made)


def _reaching(pieces: Sequence[Piece], span: Span) -> list[Piece]:
    """Return the pieces that reach into the span; each begins with a key frame, so it can be decoded."""
    return [p for p in pieces if p.end_s > span.start_s - SAME_S and p.start_s <= span.end_s + SAME_S]


def _make(
    run: Sequence[Piece], tracks: Tracks, order: ClipOrder, place: ClipPlace, on_frame: Callable[[], None]
) -> ClipFiles | None:
    """Write the files of a clip of pieces of one format; None where no picture lies in the span."""
    drawn = _draw(run, tracks, order, place, on_frame)
    if drawn is None:
        return None
    (_, start_s, start_wall), (_, end_s, end_wall) = drawn.frames[0], drawn.frames[-1]
    raw = remux(run, start_s, end_s, place.raw)
    facts = facts_of(order, run, drawn, raw, place.names)
    place.facts.write_text(json.dumps(facts, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    return ClipFiles(
        *place.targets, run[0].epoch, start_s, end_s, start_wall, end_wall, frames=len(drawn.frames)
    )


def _draw(
    run: Sequence[Piece], tracks: Tracks, order: ClipOrder, place: ClipPlace, on_frame: Callable[[], None]
) -> DrawnFrames | None:
    """Write the annotated video and the picture of the best moment; None where there is no picture."""
    frames = _frames(run, order.span, on_frame)
    first = next(frames, None)
    if first is None:
        return None
    start_s, size = first[0], (first[1].height, first[1].width)
    painter, drawn = _Painter(size, tracks, order.shapes), DrawnFrames(size)
    video, best = (
        VideoFile(place.annotated, size, threads=_ENCODER_THREADS),
        _Best(_best_s(run, tracks, order)),
    )
    for time_s, picture in chain([first], frames):
        # One clock for the whole clip: packets come in bursts, and a computer's clock may jump.
        objects, wall = tracks.at(time_s), run[0].start_wall + time_s - run[0].start_s
        bgr = painter(picture, objects, wall)
        drawn.add(video.write(bgr, time_s - start_s), time_s, wall, objects)
        best.offer(time_s, bgr)
    video.close()
    best.save(place.thumbnail)
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


def _best_s(run: Sequence[Piece], tracks: Tracks, order: ClipOrder) -> float:
    """Return the moment to show in small: the asked one, else that of the highest score, else the middle."""
    start_s = max(order.span.start_s, run[0].start_s)
    end_s = min(order.span.end_s, run[-1].end_s)
    if order.best_s is not None and start_s <= order.best_s <= end_s:
        return order.best_s
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
        self._annotator.shapes(bgr, self._shapes)
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


def _cannot_make(name: str, folder: Path, error: Exception) -> OutputError:
    detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return OutputError(f"cannot make the clip {name} in {folder}: {detail}")
