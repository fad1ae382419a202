"""What stands beside a clip as JSON (`groundstream.clip/1`): its events, its clock, every box drawn in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from groundstream.operators.clips.pieces import Piece
from groundstream.operators.clips.raw import RawVideo
from groundstream.operators.clips.spec import ClipSpec
from groundstream.operators.clips.timeline import SAME_S
from groundstream.operators.frames import SeenObject
from groundstream.operators.utils.times import rfc3339
from groundstream.operators.video.containers import CLOCK

SCHEMA = "groundstream.clip/1"


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
