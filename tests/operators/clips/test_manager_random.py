"""Random events on random videos: first and last picture, all between them, and where boxes are drawn."""

import os
import random
from pathlib import Path

import av
import numpy as np
import pytest
from clip_stage import Happening, Stage, expected
from counter_video import HEIGHT, ROUND_S, UNEVEN_MS, WIDTH, make_counter, numbers, read_number, truth
from numpy.typing import NDArray

from groundstream.operators.clips.settings import ClipSettings

#: How many events; the figure in the docs was measured with 200.
EVENTS = int(os.environ.get("GROUNDSTREAM_RANDOM_EVENTS", "12"))
PER_VIDEO = 4
PX = np.array([WIDTH, HEIGHT] * 2)
KINDS: tuple[dict[str, object], ...] = (
    {"gop": 15},
    {"gop": 40, "b_frames": 3},
    {"gop": 150, "b_frames": 1},
    {"gop": 25, "times_ms": UNEVEN_MS},
)


def spans_of(happenings: list[Happening], pre_s: float, post_s: float) -> list[tuple[float, float]]:
    """Return the spans of the clips: those of the events, joined where they overlap."""
    joined: list[tuple[float, float]] = []
    for start_s, end_s in sorted((h.start_s - pre_s, h.end_s + post_s) for h in happenings):
        if joined and start_s <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end_s))
        else:
            joined.append((start_s, end_s))
    return joined


def edge(luma: NDArray[np.uint8], column: float, rows: slice) -> int:
    """Return the column of the drawn edge near `column`: it is brighter than what is around it."""
    first = max(0, round(column) - 5)
    return first + int(luma[rows, first : round(column) + 6].mean(axis=0).argmax())


def off_px(path: Path, facts: dict[str, object], times_s: list[float]) -> list[float]:
    """Return by how many pixels each box of a clip is off: in its facts, and as it is drawn."""
    boxes = {box["time_s"]: box["box"] for track in facts["tracks"] for box in track["boxes"]}  # type: ignore[attr-defined, index]
    off: list[float] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            luma = frame.reformat(format="gray").to_ndarray()
            time_s = times_s[read_number(luma)]
            box = boxes.get(round(time_s, 6))
            if box is None:  # only where one object ends and the next begins, or after the last observation
                assert not 1 < time_s % ROUND_S < ROUND_S - 1 or time_s > times_s[-1] - 1
                continue
            there = np.array(truth(time_s)) * PX
            rows = slice(int(there[1]) + 15, int(there[1]) + 25)
            drawn = [edge(luma, column, rows) for column in there[[0, 2]]]
            off += [float(np.abs(box - there).max()), *np.abs(drawn - there[[0, 2]]).tolist()]
    return off


@pytest.mark.parametrize("seed", range(-(-EVENTS // PER_VIDEO)))
def test_random_events_make_exact_clips(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    make_counter(tmp_path / "in.mp4", seconds=24.0, **KINDS[seed % len(KINDS)])  # type: ignore[arg-type]
    settings = ClipSettings(late_s=3.0, pre_s=chance.uniform(0, 5), post_s=chance.uniform(0, 4))
    late_s = chance.uniform(0, 2)  # one for all: what is told in another order may make clips that overlap
    starts = [chance.uniform(0.5, 17) for _ in range(PER_VIDEO)]
    happenings = [Happening(s, s + chance.choice([0, chance.uniform(0, 5)]), late_s) for s in starts]
    stage = Stage(tmp_path / "clips", settings, shapes=())
    stage.play(tmp_path / "in.mp4", happenings, look_every=chance.choice([1, 2, 3, 5]))
    clips, times_s = stage.finish(), stage.times[1]
    spans = spans_of(happenings, settings.pre_s, settings.post_s)
    assert [numbers(stage.file(facts, "annotated")) for facts in clips] == [
        expected(times_s, *s) for s in spans
    ]
    off = [each for facts in clips for each in off_px(stage.file(facts, "annotated"), facts, times_s)]
    frames = sum(facts["got"]["frames"] for facts in clips)
    print(f"{len(clips)} clips, {frames} frames, {len(off)} measurements, at most {max(off):.2f} px off")
    assert max(off) <= 1.0
