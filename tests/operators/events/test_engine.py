"""What is told of things that come, go, stay and are counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest
from moving_things import Thing, frame_result, play, told, walk

from groundstream.operators.events.engine import CLOCK_BACK, NEW_EPOCH, RuleEngine
from groundstream.operators.events.event import Event
from groundstream.operators.events.rules import RULE_KINDS, CountRule, StreamRules, Zone
from groundstream.operators.frames import FrameResult
from groundstream.operators.records import record

LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
YARD = Zone("yard", LEFT_HALF)
IN, OUT = (0.25, 0.5), (0.75, 0.5)


def engine(*zones: Zone, **more: object) -> RuleEngine:
    return RuleEngine("cam", StreamRules(zones=zones, **more))  # type: ignore[arg-type]


def everything(*zones: Zone, **more: object) -> RuleEngine:
    kinds = ["appear", "disappear", "zone_enter", "zone_exit"]
    kinds += ["dwell"] if any(zone.dwell_s for zone in zones) else []
    kinds += ["count"] if "counts" in more else []
    return engine(*zones, events=tuple(kinds), **more)


def visit(inside_s: float, before: int = 10, after: int = 10) -> list[tuple[float, list[Thing]]]:
    stay = [IN] * round(inside_s * 10)
    return list(walk([OUT] * before + stay + [OUT] * after))


def test_a_thing_that_comes_is_told_once_it_has_stayed_and_ends_where_it_was_last_seen() -> None:
    rules = engine()
    events = play(rules, [*walk([OUT] * 12), *((at / 10, []) for at in range(12, 25))])
    assert told(events) == [("appear", "new"), ("appear", "end")]
    new, end = events[0], events[-1]
    assert (new.start_s, new.after.time_s, new.end_s, new.before) == (0.0, 0.3, None, None)
    assert (end.end_s, end.after.time_s, end.truncated) == (1.1, 1.1, None)
    assert end.before is not None
    assert new.id == end.id
    assert (new.after.track_id, new.after.phrase, new.after.box) == (
        "cam:1:1",
        "person",
        (730, 420, 770, 500),
    )
    assert new.after.box_norm == pytest.approx((0.73, 0.42, 0.77, 0.5))


def test_a_thing_that_flickers_is_never_told() -> None:
    assert play(everything(YARD), {0.0: [Thing(*IN)], 0.1: [Thing(*IN)], 0.2: [], 1.0: []}) == []


def test_a_gap_of_less_than_a_second_ends_nothing() -> None:
    moments = [(at / 10, [] if 10 <= at < 19 else [Thing(*IN)]) for at in range(40)]
    assert told(play(everything(YARD), moments)) == [("appear", "new"), ("zone_enter", "new")]


def test_a_visit_is_told_from_its_beginning_to_its_end() -> None:
    events = play(engine(YARD), visit(2.0))
    assert told(events) == [
        *[("zone_enter", "new"), ("zone_enter", "end")],
        *[("zone_exit", "new"), ("zone_exit", "end")],
    ]
    enter, left, exit_new, exit_end = events
    assert (enter.rule, enter.start_s, enter.after.zones) == ("yard", 1.0, ("yard",))
    assert (left.end_s, left.after.zones) == (3.0, ())
    assert left.after.values == {"dwell_s": 2.0, "how": "left"}
    assert (exit_new.start_s, exit_new.end_s, exit_end.end_s) == (3.0, None, 3.0)
    assert exit_new.after == exit_end.after == exit_end.before
    assert len({each.id for each in events}) == 2


def test_a_thing_that_is_gone_has_left_its_zones() -> None:
    events = play(engine(YARD), [*walk([IN] * 10), (1.5, []), (2.0, [])])
    assert told(events)[-2:] == [("zone_exit", "new"), ("zone_exit", "end")]
    assert events[-1].after.values == {"dwell_s": 0.9, "how": "gone"}
    assert events[-1].end_s == 0.9


def test_a_short_way_out_of_a_zone_is_no_exit_and_a_short_way_in_no_entry() -> None:
    points = [IN] * 10 + [OUT] * 2 + [IN] * 10
    assert told(play(engine(YARD), walk(points))) == [("zone_enter", "new")]
    points = [OUT] * 10 + [IN] * 2 + [OUT] * 10
    assert play(engine(YARD), walk(points)) == []


def test_lost_things_neither_move_nor_leave_until_they_are_gone() -> None:
    seen = list(walk([IN] * 10))
    lost = list(walk([OUT] * 20, start_s=1.0, state="lost"))
    rules = engine(YARD)
    assert told(play(rules, [*seen, *lost])) == [("zone_enter", "new")]
    update = rules.update(frame_result(3.0, [Thing(*OUT, state="lost")]))
    assert [seen.zones for seen in update.result.objects] == [("yard",)]
    assert play(rules, {3.1: [], 3.9: []}) == []
    assert told(play(rules, {4.0: []})) == [
        *[("zone_enter", "end"), ("zone_exit", "new"), ("zone_exit", "end")]
    ]


def test_a_lost_thing_that_is_found_elsewhere_has_left() -> None:
    lost = walk([IN] * 10, start_s=1.0, state="lost")
    events = play(engine(YARD), [*walk([IN] * 10), *lost, *walk([OUT] * 5, start_s=2.0)])
    assert told(events)[1:] == [("zone_enter", "end"), ("zone_exit", "new"), ("zone_exit", "end")]
    assert events[-1].start_s == 2.0


def test_tentative_things_do_not_count() -> None:
    assert play(everything(YARD), walk([IN] * 30, state="tentative")) == []


def test_a_stay_is_told_when_it_is_long_enough_and_says_how_long() -> None:
    bench = dataclasses.replace(YARD, dwell_s=2.0)
    events = [each for each in play(engine(bench), visit(4.0)) if each.kind == "dwell"]
    assert told(events) == [("dwell", "new"), ("dwell", "end")]
    assert (events[0].start_s, events[0].after.values) == (3.0, {"dwell_s": 2.0})
    assert (events[1].end_s, events[1].after.values) == (5.0, {"dwell_s": 4.0, "how": "left"})


def test_a_stay_that_ends_before_its_time_is_none() -> None:
    bench = dataclasses.replace(YARD, dwell_s=2.0)
    assert "dwell" not in {kind for kind, _ in told(play(engine(bench), visit(1.9)))}


@pytest.mark.parametrize(
    ("more", "thing", "expected"),
    [
        ({"phrases": ("person",)}, {"phrase": "white van"}, False),
        ({"phrases": ("Person", "white van")}, {"phrase": "person"}, True),
        ({"score": 0.6}, {"score": 0.5}, False),
        ({"score": 0.6}, {"score": 0.6}, True),
    ],
)
def test_zones_and_the_picture_ask_for_phrases_and_scores(
    more: dict[str, object], thing: dict[str, object], expected: bool
) -> None:
    zone = dataclasses.replace(YARD, **more)  # type: ignore[arg-type]
    assert bool(play(engine(zone), walk([IN] * 10, **thing))) == expected
    assert bool(play(engine(**more), walk([IN] * 10, **thing))) == expected


def test_a_score_that_was_reached_stays_reached() -> None:
    scores = [0.7, 0.7, 0.7, 0.7, 0.7] + [0.4] * 20
    moments = [(at / 10, [Thing(*IN, score=score)]) for at, score in enumerate(scores)]
    zone = dataclasses.replace(YARD, score=0.6)
    assert told(play(engine(zone), moments)) == [("zone_enter", "new")]


def test_another_phrase_begins_anew() -> None:
    phrases = ["person"] * 10 + ["white van"] * 10
    moments = [(at / 10, [Thing(*IN, phrase=phrase)]) for at, phrase in enumerate(phrases)]
    events = play(everything(dataclasses.replace(YARD, phrases=("person",))), moments)
    assert ("zone_exit", "end") in told(events)
    updates = [each for each in events if each.kind == "appear" and each.type == "update"]
    assert [each.after.phrase for each in updates] == ["white van"]


def test_updates_are_of_what_changed_and_at_most_one_a_second() -> None:
    scores = [min(0.9, 0.3 + at / 100) for at in range(100)]
    moments = [(at / 10, [Thing(*IN, score=score)]) for at, score in enumerate(scores)]
    updates = [each for each in play(engine(), moments) if each.type == "update"]
    assert [round(each.after.time_s, 3) for each in updates] == [1.3, 2.3, 3.3, 4.3, 5.3, 6.3]
    assert updates[-1].best is not None
    assert updates[-1].best.score == pytest.approx(0.9, abs=1e-6)
    assert all(each.before is not None and each.before.time_s < each.after.time_s for each in updates)


def test_a_still_thing_has_no_news() -> None:
    assert told(play(engine(), walk([IN] * 100))) == [("appear", "new")]
    assert len(play(engine(), walk([IN] * 100))) == 1


def crowd(numbers: Iterable[int]) -> list[tuple[float, list[Thing]]]:
    return [(at / 10, [Thing(*IN, n=n + 1) for n in range(count)]) for at, count in enumerate(numbers)]


def counting(zone: str | None = "yard", **bounds: object) -> RuleEngine:
    return engine(YARD, counts=(CountRule("crowd", zone=zone, **bounds),), events=("count",))  # type: ignore[arg-type]


@pytest.mark.parametrize("zone", ["yard", None])
def test_a_number_is_told_while_it_is_passed(zone: str | None) -> None:
    events = play(counting(zone, above=1), crowd([1] * 10 + [3] * 30 + [1] * 30))
    assert told(events) == [("count", "new"), ("count", "end")]
    new, end = events
    assert (new.rule, new.after.values, new.after.track_id, new.best) == ("crowd", {"count": 3}, None, None)
    assert new.after.zones == (() if zone is None else ("yard",))
    assert (end.after.values, end.start_s < end.end_s) == ({"count": 1}, True)  # type: ignore[operator]


def test_a_number_that_changes_is_news() -> None:
    events = play(counting(above=1), crowd([2] * 30 + [4] * 30))
    assert [each.after.values["count"] for each in events] == [2, 4]


def test_a_number_that_is_passed_for_an_instant_is_not_told() -> None:
    assert play(counting(above=1), crowd([1] * 10 + [2] * 2 + [1] * 20)) == []


def test_nobody_is_a_number() -> None:
    events = play(counting(below=1), crowd([0] * 10 + [1] * 20))
    assert told(events) == [("count", "new"), ("count", "end")]
    assert events[0].start_s == 0.0


def test_counts_ask_for_phrases() -> None:
    assert play(counting(above=0, phrases=("white van",)), crowd([3] * 20)) == []


@pytest.mark.parametrize(("of", "expected"), [("track", 3), ("phrase", 2)])
def test_a_cooldown_is_of_a_track_or_of_a_phrase(of: str, expected: int) -> None:
    rules = engine(YARD, cooldown_s=5.0, cooldown_of=of, events=("zone_enter",))
    moments = visit(1.0) + [
        (3 + at, [dataclasses.replace(things[0], n=2)]) for at, things in visit(1.0)
    ]  # another one, 3 s later
    moments += [(8 + at, things) for at, things in visit(1.0)]  # the first one again, 8 s later
    assert [each.type for each in play(rules, moments)].count("new") == expected


def test_a_new_epoch_ends_what_is_open_and_begins_anew() -> None:
    rules = everything(YARD, counts=(CountRule("crowd", above=0),))
    play(rules, walk([IN] * 30))
    ended = rules.update(frame_result(0.0, [Thing(*IN)], epoch=2)).events
    assert sorted(told(ended)) == [("appear", "end"), ("count", "end"), ("zone_enter", "end")]
    assert {(each.truncated, each.end_s) for each in ended} == {(NEW_EPOCH, 2.9)}
    later = [
        event
        for at in range(1, 10)
        for event in rules.update(frame_result(at / 10, [Thing(*IN)], epoch=2)).events
    ]
    assert sorted(told(later)) == [("appear", "new"), ("count", "new"), ("zone_enter", "new")]
    assert {each.after.track_id for each in later if each.kind != "count"} == {"cam:2:1"}


def test_a_cooldown_goes_on_over_a_new_epoch() -> None:
    rules = engine(cooldown_s=60.0, cooldown_of="phrase")
    assert told(play(rules, walk([IN] * 30, start_s=1000.0))) == [("appear", "new")]
    for epoch in (2, 3):
        for at in range(100):
            for event in rules.update(frame_result(at / 10, [Thing(*IN)], epoch=epoch)).events:
                assert event.type == "end"


def test_a_clock_that_goes_back_ends_what_is_open() -> None:
    rules = engine(YARD)
    play(rules, walk([IN] * 30, start_s=100.0))
    events = play(rules, walk([IN] * 30, start_s=50.0))
    assert told(events) == [("zone_enter", "end"), ("zone_enter", "new")]
    assert (events[0].truncated, events[0].end_s) == (CLOCK_BACK, pytest.approx(102.9))
    assert (events[1].start_s, len(play(rules, walk([IN] * 30, start_s=53.0)))) == (50.0, 0)


def test_after_a_long_gap_one_frame_decides_nothing() -> None:
    rules = engine(YARD)
    assert told(play(rules, walk([IN] * 10))) == [("zone_enter", "new")]
    assert play(rules, {600.0: [Thing(*OUT)], 600.1: [Thing(*IN)], 601.0: [Thing(*IN)]}) == []


def test_stale_results_change_nothing() -> None:
    rules = engine(YARD)
    play(rules, walk([IN] * 10))
    for at in range(10, 100):
        given = frame_result(at / 10, stale=True)
        update = rules.update(given)
        assert (update.events, update.result) == ((), given)
    assert play(rules, walk([IN] * 10, start_s=10.0)) == []


def test_the_end_of_a_stream_ends_what_is_open() -> None:
    rules = engine(YARD)
    play(rules, walk([IN] * 10))
    (end,) = rules.end("the run was stopped")
    assert (end.type, end.truncated, end.end_s, end.after.zones) == (
        *("end", "the run was stopped", 0.9),
        ("yard",),
    )
    assert rules.end("the run was stopped") == ()


def test_the_zones_of_objects_go_into_the_result_that_comes_back() -> None:
    rules = engine(YARD, Zone("all", ((0, 0), (1, 0), (1, 1), (0, 1))))
    things = [Thing(*IN, n=1), Thing(*OUT, n=2), Thing(*IN, n=3, state="tentative")]
    for at in range(10):
        result = frame_result(at / 10, things)
        before, result = result, rules.update(result).result
    zones = (("yard", "all"), ("all",), ())
    assert tuple(seen.zones for seen in result.objects) == zones
    assert [seen.zones for seen in before.objects] == [(), (), ()]  # a result never changes
    assert tuple(result.detections.data["zones"]) == zones
    assert isinstance(result.detections.data["zones"], np.ndarray)
    assert tuple(result.detections[1:].data["zones"]) == zones[1:]
    assert "zones" not in before.detections.data
    assert [each["zones"] for each in record(result)["objects"]] == [["yard", "all"], ["all"], []]


def test_ids_are_distinct_and_begin_with_the_time() -> None:
    rules, others = everything(YARD), everything(YARD)
    events: list[Event] = []
    for number in range(300):
        moments = {number * 10 + at / 10: [Thing(*IN, n=number)] for at in range(5)}
        events += play(rules, moments) + play(others, moments)
    new = [each for each in events if each.type == "new"]
    assert len({each.id for each in new}) == len(new) > 1000
    assert new[0].id.startswith("1700000000.3")


def test_every_event_has_one_beginning_and_one_end() -> None:
    rng = np.random.default_rng(7)
    bench = dataclasses.replace(YARD, dwell_s=1.0)
    rules = engine(bench, counts=(CountRule("crowd", above=1),), events=(*RULE_KINDS[:4], "dwell", "count"))
    events = []
    for at in range(2000):
        there = [Thing(*rng.uniform(0, 1, 2), n=n) for n in range(4) if (at // 50 + n) % 3]
        events += rules.update(frame_result(at / 10, there, epoch=1 + at // 900)).events
    events += rules.end("over")
    types: dict[str, list[str]] = {}
    for event in events:
        types.setdefault(event.id, []).append(event.type)
    assert len(types) > 100
    assert all(each[0] == "new" and each[-1] == "end" for each in types.values())
    assert all(set(each[1:-1]) <= {"update"} for each in types.values())


# ---- the source is lost for now

EVERYWHERE = StreamRules(zones=(Zone("all", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))),), settle_s=0.0)
LOST = "the camera is away"


def inside(time_s: float, epoch: int = 1) -> FrameResult:
    return frame_result(time_s, [Thing(0.5, 0.5)], epoch=epoch)


def test_what_is_open_ends_at_once_when_the_source_is_lost() -> None:
    rules = RuleEngine("cam", EVERYWHERE)
    events = [event for at in (0.0, 0.1, 0.2) for event in rules.update(inside(at)).events]

    ended = rules.interrupt(LOST)

    assert told(events) == [("zone_enter", "new")]
    assert [(event.type, event.truncated, event.id) for event in ended] == [("end", LOST, events[0].id)]
    assert rules.interrupt(LOST) == ()


def test_frames_that_were_on_their_way_begin_nothing_and_the_next_epoch_begins_anew() -> None:
    rules = RuleEngine("cam", EVERYWHERE)
    rules.update(inside(0.0))
    rules.interrupt(LOST)

    late = [event for at in (0.1, 0.2) for event in rules.update(inside(at)).events]
    back = [event for at in (0.0, 0.1) for event in rules.update(inside(at, epoch=2)).events]

    assert late == []
    assert told(back) == [("zone_enter", "new")]


def test_an_epoch_of_which_only_stale_frames_came_is_over_too() -> None:
    rules = RuleEngine("cam", EVERYWHERE)
    rules.update(inside(0.0))
    rules.update(dataclasses.replace(inside(0.0, epoch=2), stale=True))
    rules.interrupt(LOST)

    assert rules.update(inside(0.1, epoch=2)).events == ()
    assert told(rules.update(inside(0.0, epoch=3)).events) == [("zone_enter", "new")]


def test_a_source_that_never_came_may_still_come() -> None:
    rules = RuleEngine("cam", EVERYWHERE)

    assert rules.interrupt("nothing listens there") == ()

    assert told(rules.update(inside(0.0)).events) == [("zone_enter", "new")]
