"""Results of frames in which things stand where a test wants them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from result_factory import MODEL, PROMPT

from groundstream.operators.events.engine import RuleEngine
from groundstream.operators.events.event import Event
from groundstream.operators.frames import Frame, FrameResult, SeenObject

SIDE = 1000  # pixels of the square picture


@dataclass(frozen=True)
class Thing:
    """An object whose box stands at (x, y) in parts of the picture."""

    x: float
    y: float
    n: int = 1
    phrase: str = "person"
    score: float = 0.8
    state: str = "confirmed"


def frame_result(
    time_s: float, things: Iterable[Thing] = (), *, epoch: int = 1, stale: bool = False, stream: str = "cam"
) -> FrameResult:
    """Return the result of the frame at `time_s`, numbered by hundredths of a second."""
    frame = Frame(
        stream_id=stream,
        epoch=epoch,
        seq=max(0, round(time_s * 100)),
        time_s=time_s,
        wall_time=1_700_000_000 + time_s,
        picture=None,
        width=SIDE,
        height=SIDE,
    )
    objects = tuple(_object(each, f"{stream}:{epoch}") for each in things)
    return FrameResult(frame, PROMPT, MODEL, objects, stale=stale)


def _object(thing: Thing, prefix: str) -> SeenObject:
    x, y, known = thing.x * SIDE, thing.y * SIDE, thing.state != "tentative"
    return SeenObject(
        track_id=f"{prefix}:{thing.n}" if known else "",
        phrase=thing.phrase,
        score=thing.score,
        box=(x - 20, y - 80, x + 20, y),
        state=thing.state,
        number=thing.n if known else -1,
        phrase_index=PROMPT.phrases.index(thing.phrase),
        phrase_scores=(0.0,) * len(PROMPT.phrases),
        interpolated=thing.state == "lost",
    )


def play(
    engine: RuleEngine, moments: Mapping[float, Iterable[Thing]] | Iterable[tuple[float, Iterable[Thing]]]
) -> list[Event]:
    """Show what is where at which second; return all that is told."""
    pairs = moments.items() if isinstance(moments, Mapping) else moments
    return [event for at, things in pairs for event in engine.update(frame_result(at, things)).events]


def walk(
    points: Iterable[tuple[float, float]], start_s: float = 0.0, fps: float = 10.0, **thing: object
) -> Iterator[tuple[float, list[Thing]]]:
    """Yield one thing that is at one point after another."""
    for number, (x, y) in enumerate(points):
        yield start_s + number / fps, [Thing(x, y, **thing)]  # type: ignore[arg-type]


def told(events: Iterable[Event]) -> list[tuple[str, str]]:
    """Return kind and type of each message, without updates."""
    return [(event.kind, event.type) for event in events if event.type != "update"]
