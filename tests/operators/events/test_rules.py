from __future__ import annotations

from typing import get_args

import pytest

from groundstream.operators.events.event import EventKind
from groundstream.operators.events.rules import RULE_KINDS, CountLine, CountRule, StreamRules, Zone

DOOR = Zone("door", ((0, 0), (1, 0), (1, 1)))
BENCH = Zone("bench", ((0, 0), (1, 0), (1, 1)), dwell_s=10)
ROAD = CountLine("road", (0, 0.5), (1, 0.5))
CROWD = CountRule("crowd", above=3)


def test_every_kind_of_event_is_one_that_rules_make_or_of_the_recording() -> None:
    assert (*RULE_KINDS, "recording") == get_args(EventKind)


@pytest.mark.parametrize(
    ("rules", "kinds"),
    [
        (StreamRules(), {"appear"}),
        (StreamRules(zones=(DOOR,)), {"zone_enter", "zone_exit"}),
        (StreamRules(zones=(DOOR, BENCH)), {"zone_enter", "zone_exit", "dwell"}),
        (StreamRules(lines=(ROAD,), counts=(CROWD,)), {"line_cross", "count"}),
        (StreamRules(zones=(DOOR,), events=("appear", "zone_exit")), {"appear", "zone_exit"}),
        (StreamRules(events=()), set()),
    ],
)
def test_without_a_choice_everything_is_told_that_the_rules_are_for(
    rules: StreamRules, kinds: set[str]
) -> None:
    assert rules.emitted == kinds


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"zones": (DOOR, DOOR)}, "zones and lines of different names, but 'door' is there more than once"),
        ({"zones": (DOOR,), "lines": (CountLine("door", (0, 0), (1, 1)),)}, "'door' is there more than once"),
        ({"counts": (CROWD, CROWD)}, "counts of different names, but 'crowd'"),
        (
            {"zones": (DOOR,), "counts": (CountRule("full", above=3, zone="dor"),)},
            "count 'full': no zone is called 'dor'; there are: door",
        ),
        ({"events": ("loiter",)}, "expected events of appear, .*, but got 'loiter'"),
        ({"events": ("recording",)}, "but got 'recording'"),
        ({"events": ("dwell",), "zones": (DOOR,)}, "the kind dwell need a zone with dwell_s; add one, or"),
        ({"events": ("line_cross",)}, "the kind line_cross need a line"),
        ({"settle_s": -1}, "expected seconds of at least 0, but got -1"),
        ({"cooldown_s": -1}, "expected seconds of at least 0"),
        ({"cooldown_of": "stream"}, "expected a cooldown of track or phrase, but got 'stream'"),
        ({"phrases": ("",)}, "a phrase is empty"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        StreamRules(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "expected either above or below, but got None and None"),
        ({"above": 1, "below": 2}, "expected either above or below, but got 1 and 2"),
        ({"above": -1}, "expected above of at least 0, but got -1"),
        ({"below": 0}, "expected below of at least 1, but got 0"),
    ],
)
def test_counts_are_checked(values: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=f"count 'crowd': {said}"):
        CountRule("crowd", **values)  # type: ignore[arg-type]


def test_above_and_below_leave_the_number_itself_out() -> None:
    assert [CountRule("crowd", above=2).passed(number) for number in (1, 2, 3)] == [False, False, True]
    assert [CountRule("guard", below=2).passed(number) for number in (1, 2, 3)] == [True, False, False]
