"""Options, clock, sampling, patience and backoff: plain arithmetic."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from groundstream.operators import sources
from groundstream.operators.sources import options as source_options
from groundstream.operators.sources.connection import CEILING_S, START_S, Patience
from groundstream.operators.sources.decode import Clock, Pacer, Sampler
from groundstream.operators.sources.options import SourceOptions
from groundstream.operators.utils.backoff import Backoff


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fps": 0}, "fps must be a number greater than 0, but got 0"),
        ({"fps": float("nan")}, "fps must be a number greater than 0, but got nan"),
        ({"fps": float("inf")}, "fps must be a number greater than 0, but got inf"),
        ({"start_s": -1}, "start_s must be a number 0 or greater, but got -1"),
        ({"start_s": 5, "end_s": 5}, r"end_s must be later than start_s \(5\), but got 5"),
        ({"end_s": 0}, "end_s must be a number greater than 0, but got 0"),
        ({"patience_s": 0}, "patience_s must be a number greater than 0"),
        ({"semantics": "fast"}, "semantics must be one of auto, file, live, but got 'fast'"),
        ({"transport": "http"}, "transport must be one of tcp, udp, but got 'http'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SourceOptions(**options)  # type: ignore[arg-type]


def test_every_option_says_what_it_is() -> None:
    tree = ast.parse(Path(source_options.__file__).read_text(encoding="utf-8"))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
    fields = [number for number, node in enumerate(body) if isinstance(node, ast.AnnAssign)]
    assert len(fields) == len(SourceOptions.__dataclass_fields__)
    for number in fields:
        words = body[number + 1]
        assert isinstance(words, ast.Expr), ast.unparse(body[number])
        assert isinstance(words.value, ast.Constant)
        assert isinstance(words.value.value, str)


def test_the_options_are_light() -> None:
    code = "import sys; from groundstream.operators.sources import SourceOptions; SourceOptions(fps=5); "
    code += "print([m for m in ('av', 'numpy', 'torch', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_names_of_the_room_exist() -> None:
    for name in sources.__all__:
        assert getattr(sources, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = sources.nonsense


@pytest.mark.parametrize(
    ("stamps", "start", "times", "repaired"),
    [
        ([5.0, 5.1, 5.5], None, [0.0, 0.1, 0.5], 0),
        ([5.0, 5.1], 4.0, [1.0, 1.1], 0),
        ([3.9, 4.0], 4.0, [0.0, 0.1], 0),  # before the declared start
        ([None, 7.0, 7.1], None, [0.0, 0.1, 0.2], 0),
        ([0.0, None, None, 0.3], None, [0.0, 0.1, 0.2, 0.3], 2),
        ([0.0, 0.1, 0.1, 0.2], None, [0.0, 0.1, 0.101, 0.2], 1),  # repeated
        ([0.0, 0.1, 0.05, 0.2], None, [0.0, 0.1, 0.101, 0.2], 1),  # out of order
        ([50.0, 50.1, 2.0, 2.1], None, [0.0, 0.1, 0.2, 0.3], 1),  # the clock starts anew
        ([0.0, 0.1, 9.0], None, [0.0, 0.1, 9.0], 0),  # a true gap
        ([0.0, 0.1, 90.0, 90.1], None, [0.0, 0.1, 0.2, 0.3], 1),  # a leap
    ],
)
def test_times_grow_from_zero(
    stamps: list[float | None], start: float | None, times: list[float], repaired: int
) -> None:
    clock = Clock(0.1, start, longest_gap_s=60)
    assert [clock.read(stamp) for stamp in stamps] == pytest.approx(times)
    assert clock.repaired == repaired


@pytest.mark.parametrize(
    ("fps", "source_fps", "kept"),
    [(None, 30, 30), (10, 30, 10), (15, 30, 15), (7, 30, 7), (30, 30, 30), (60, 30, 30), (0.5, 30, 1)],
)
@pytest.mark.parametrize("digits", [9, 3])  # Matroska rounds to milliseconds
def test_sampling_keeps_the_first_frame_of_each_tick(
    fps: float | None, source_fps: int, kept: int, digits: int
) -> None:
    sampler = Sampler(fps)
    times = [round(number / source_fps, digits) for number in range(source_fps)]
    assert sum(sampler.keeps(time_s) for time_s in times) == kept


def test_sampling_across_a_gap_keeps_the_grid() -> None:
    sampler = Sampler(1.0)
    assert [sampler.keeps(t) for t in (0.2, 0.9, 1.2, 5.0, 5.1, 5.2, 6.1, 6.3)] == [
        *(True, False, True, True, False, True, False, True)
    ]


@pytest.mark.alone
def test_pace_is_real_time_and_ends_on_closing() -> None:
    closing = threading.Event()
    pacer = Pacer(closing)
    started = time.monotonic()
    for time_s in (100.0, 100.05, 100.1):
        assert pacer.wait(time_s)
    assert 0.1 <= time.monotonic() - started < 0.3
    threading.Timer(0.02, closing.set).start()
    assert not pacer.wait(200.0)
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    ("gaps", "limit"),
    [
        ([], START_S),
        ([0.04] * 4, START_S),
        ([0.04] * 50, 2.0),
        ([0.5] * 20, 5.0),
        ([5.0] * 10, 50.0),
        ([0.04] * 50 + [1.5], 4.5),
        ([30.0] * 10, CEILING_S),
    ],
)
def test_patience_follows_the_frame_rate(gaps: list[float], limit: float) -> None:
    patience = Patience(floor_s=2.0)
    for gap_s in gaps:
        patience.note_gap(gap_s)
    assert patience.limit_s == pytest.approx(limit)


def test_patience_given_by_the_user_always_holds() -> None:
    patience = Patience(floor_s=2.0, fixed_s=0.5)
    patience.note_gap(100.0)
    assert patience.limit_s == 0.5


def test_backoff_grows_with_jitter_and_resets() -> None:
    backoff = Backoff(0.5, 30.0, random.Random(0))
    delays = [backoff.next_s() for _ in range(2000)]
    for number, delay in enumerate(delays[:12]):
        longest = min(30.0, 0.5 * 2**number)
        assert longest / 2 <= delay <= longest
    assert len(set(delays)) > 1990
    assert 15.0 <= backoff.slowest_s() <= 30.0
    backoff.reset()
    assert backoff.next_s() <= 0.5


def test_backoff_without_a_range_is_refused() -> None:
    with pytest.raises(ValueError, match="0 < low_s <= high_s, but got 2 and 1"):
        Backoff(2, 1)
