"""Crossings: one for each, in the right direction, and none for what trembles."""

from __future__ import annotations

import dataclasses
import pickle
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moving_things import Thing, frame_result, play, walk

from groundstream.operators.events.engine import RuleEngine
from groundstream.operators.events.event import Event
from groundstream.operators.events.rules import CountLine, CountRule, StreamRules, Zone

#: From the left edge to the right one: crossed to the right by what moves down.
ROAD = CountLine("road", (0.0, 0.5), (1.0, 0.5))
#: The same, with a way around both its ends.
GATE = CountLine("gate", (0.4, 0.5), (0.6, 0.5))


def engine(*lines: CountLine, **more: object) -> RuleEngine:
    return RuleEngine("cam", StreamRules(lines=lines, **more))  # type: ignore[arg-type]


def directions(events: list[Event]) -> list[str]:
    return [str(event.after.values["direction"]) for event in events if event.type == "new"]


def down(*heights: float, x: float = 0.5) -> list[tuple[float, float]]:
    return [(x, y) for y in heights]


def test_a_crossing_is_told_when_it_is_sure_and_where_it_was() -> None:
    events = play(engine(ROAD), walk(down(0.3, 0.3, 0.3, 0.3, 0.4, 0.6, 0.7, 0.8, 0.8)))
    new, end = events
    assert (new.kind, new.type, end.type, new.rule) == ("line_cross", "new", "end", "road")
    assert directions(events) == ["right"]
    assert new.start_s == end.start_s == end.end_s == new.after.time_s == 0.5
    assert new.id == end.id


def test_the_way_back_is_a_crossing_in_the_other_direction() -> None:
    there = [0.3] * 5 + [0.7] * 5
    assert directions(play(engine(ROAD), walk(down(*there, *reversed(there))))) == ["right", "left"]


@pytest.mark.parametrize(
    "heights",
    [
        [0.3] * 10 + [0.7] * 2 + [0.3] * 10,  # across and back within the hysteresis
        [0.3] * 10 + [0.49, 0.51] * 20 + [0.3] * 10,  # jitters on the line, and stays where it was
        [0.7] + [0.3] * 20,  # its first box on the wrong side
        [0.3] * 5 + [0.5] * 50,  # up to the line and no further
        [0.5] * 20 + [0.7] * 20,  # has come out of the line
        [0.3] * 10 + [0.5005, 0.4995] * 20,  # trembles on the line for long
    ],
)
def test_what_is_no_crossing(heights: list[float]) -> None:
    assert play(engine(ROAD), walk(down(*heights))) == []


def test_jitter_on_the_way_across_is_one_crossing() -> None:
    heights = [0.3] * 10 + [0.49, 0.51, 0.48, 0.52, 0.495, 0.51] + [0.7] * 10
    assert directions(play(engine(ROAD), walk(down(*heights)))) == ["right"]


@pytest.mark.parametrize(("start", "end", "expected"), [(0.3, 0.7, "right"), (0.7, 0.3, "left")])
def test_a_thing_that_was_lost_and_is_found_on_the_other_side_has_crossed_once(
    start: float, end: float, expected: str
) -> None:
    seen = walk(down(*[start] * 10))
    lost = walk(down(*np.linspace(start, end + 0.1, 20)), start_s=1.0, state="lost")
    found = walk(down(*[end] * 10), start_s=3.0)
    events = play(engine(ROAD), [*seen, *lost, *found])
    assert directions(events) == [expected]
    assert events[0].start_s == 3.0


def test_a_thing_that_was_lost_for_good_on_the_line_has_not_crossed() -> None:
    lost = walk(down(*np.linspace(0.3, 0.9, 20)), start_s=1.0, state="lost")
    assert play(engine(ROAD), [*walk(down(*[0.3] * 10)), *lost, (4.0, []), (5.0, [])]) == []


def test_a_way_around_the_end_of_a_line_is_no_crossing() -> None:
    around = [(0.5, 0.3)] * 5 + [(0.2, 0.3)] * 5 + [(0.2, 0.7)] * 5 + [(0.5, 0.7)] * 5
    assert play(engine(GATE), walk(around)) == []
    through = [(0.5, 0.7)] * 5 + [(0.5, 0.3)] * 5
    assert directions(play(engine(GATE), walk(around + through))) == ["left"]


def test_one_direction_can_be_asked_for() -> None:
    heights = [0.3] * 5 + [0.7] * 5 + [0.3] * 5 + [0.7] * 5
    out = dataclasses.replace(ROAD, direction="left")
    assert directions(play(engine(out), walk(down(*heights)))) == ["left"]


def test_lines_ask_for_phrases_and_scores() -> None:
    path = down(*[0.3] * 5, *[0.7] * 5)
    assert play(engine(dataclasses.replace(ROAD, phrases=("white van",))), walk(path)) == []
    assert play(engine(dataclasses.replace(ROAD, score=0.9)), walk(path)) == []
    assert len(play(engine(dataclasses.replace(ROAD, phrases=("person",), score=0.8)), walk(path))) == 2


def test_things_cross_each_for_itself() -> None:
    moments = [
        (at / 10, [Thing(0.2, 0.3 if at < 10 else 0.7, n=1), Thing(0.8, 0.7 if at < 15 else 0.3, n=2)])
        for at in range(30)
    ]
    events = [event for event in play(engine(ROAD), moments) if event.type == "new"]
    assert [(event.after.track_id, event.after.values["direction"]) for event in events] == [
        *[("cam:1:1", "right"), ("cam:1:2", "left")]
    ]


def test_a_cooldown_is_of_a_direction() -> None:
    heights = ([0.3] * 5 + [0.7] * 5) * 3
    events = play(engine(ROAD, cooldown_s=60.0), walk(down(*heights)))
    assert directions(events) == ["right", "left"]


PLACES = st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.booleans(), st.floats(0.01, 2.0))


@settings(max_examples=200, deadline=None)
@given(st.lists(PLACES, max_size=60), st.sampled_from([0.0, 0.3, 1.0]))
def test_crossings_of_a_line_through_the_picture_alternate_and_end_on_the_side_of_the_track(
    places: list[tuple[float, float, bool, float]], settle_s: float
) -> None:
    rules, time_s, events = engine(ROAD, settle_s=settle_s), 0.0, []
    for x, y, lost, wait_s in [*places, (0.5, 0.1, False, 0.1), (0.5, 0.1, False, 5.0)]:
        time_s += wait_s
        thing = Thing(x, y, state="lost" if lost else "confirmed")
        events += rules.update(frame_result(time_s, [thing])).events
    said = directions(events)
    assert all(one != other for one, other in pairwise(said))
    assert not said or said[-1] == "left"  # it stands above the line in the end


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)), min_size=2, max_size=12))
def test_a_slow_walk_crosses_as_often_as_its_way_meets_the_line(points: list[tuple[float, float]]) -> None:
    clear = [(x, y) for x, y in points if abs(y - 0.5) > 0.01]
    held = [point for point in clear for _ in range(5)]  # half a second at each place
    expected = [
        "right" if two[1] > 0.5 else "left"
        for one, two in pairwise(clear)
        if (one[1] > 0.5) != (two[1] > 0.5)
    ]
    assert directions(play(engine(ROAD), walk(held))) == expected


@pytest.mark.slow
def test_what_is_kept_does_not_grow_with_the_tracks_that_have_been() -> None:
    rng = np.random.default_rng(0)
    zone = Zone("yard", ((0, 0), (0.5, 0), (0.5, 1), (0, 1)), dwell_s=0.5)
    rules = engine(
        ROAD, GATE, zones=(zone,), counts=(CountRule("crowd", above=1),), cooldown_s=0.5, cooldown_of="phrase"
    )
    sizes, number = [], 0
    for at in range(20_000):
        number += at % 2
        there = [Thing(*rng.uniform(0, 1, 2), n=number - back) for back in range(2)]
        rules.update(frame_result(at / 20, there))
        if at % 1000 == 999:
            sizes.append(len(pickle.dumps(rules)))
    assert max(sizes[2:]) < 1.5 * max(sizes[:2]), sizes


def test_an_update_costs_little_beside_a_model() -> None:
    zones = tuple(Zone(f"z{n}", ((0, 0), (0.5, 0), (0.5, 1), (0, 1))) for n in range(4))
    rules = engine(ROAD, GATE, zones=zones)
    results = [
        frame_result(at / 10, [Thing(0.1 * n, 0.4 + 0.01 * (at % 20), n=n) for n in range(10)])
        for at in range(50)
    ]
    started = time.process_time()
    for result in results:
        rules.update(result)
    assert (time.process_time() - started) / len(results) < 0.02
