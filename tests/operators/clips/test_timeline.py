import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from result_factory import result

from groundstream.operators.clips.timeline import Observation, Timeline, Tracks, observation_of
from groundstream.operators.frames import SeenObject

WIDTH, HEIGHT = 1920, 1080


def seen(time_s: float, track: str = "cam:1:1", *, phrase: str = "van", score: float = 0.8) -> SeenObject:
    """A box of 200 x 100 px that moves 300 px a second to the right and 50 down."""
    left, top = 10 + 300 * time_s, 20 + 50 * time_s
    box = (left / WIDTH, top / HEIGHT, (left + 200) / WIDTH, (top + 100) / HEIGHT)
    return SeenObject(track, phrase, score, box, "confirmed" if track else "tentative")


def observation(time_s: float, *tracks: str, epoch: int = 1) -> Observation:
    return Observation(epoch, time_s, tuple(seen(time_s, track) for track in tracks))


@given(
    times=st.lists(st.floats(0, 5), min_size=2, max_size=12, unique_by=lambda t: round(t, 3)),
    part=st.floats(0, 1),
)
def test_linear_motion_is_met_to_far_less_than_a_pixel(times: list[float], part: float) -> None:
    tracks = Tracks([observation(time_s, "cam:1:1") for time_s in times], longest_gap_s=6)
    time_s = min(times) + part * (max(times) - min(times))
    (got,) = tracks.at(time_s)
    off_px = np.abs(np.subtract(got.box, seen(time_s).box)) * (WIDTH, HEIGHT, WIDTH, HEIGHT)
    assert off_px.max() < 0.01


def test_a_sighting_is_shown_as_it_is_and_between_two_it_is_called_interpolated() -> None:
    tracks = Tracks([observation(1.0, "cam:1:1"), observation(1.2, "cam:1:1")])
    assert tracks.at(1.0) == (seen(1.0),)
    assert tracks.at(0.7 + 0.3) == (seen(1.0),)  # 0.7 + 0.3 is not 1.0 for a computer
    assert [each.state for each in tracks.at(1.1)] == ["interpolated"]


@pytest.mark.parametrize("time_s", [0.99, 3.01, 2.0])
def test_nothing_before_after_or_in_a_long_gap(time_s: float) -> None:
    tracks = Tracks([observation(1.0, "cam:1:1"), observation(3.0, "cam:1:1")], longest_gap_s=1.9)
    assert tracks.at(time_s) == ()


def test_tracks_do_not_mix_and_an_object_without_one_is_shown_only_where_it_was_seen() -> None:
    tracks = Tracks(
        [observation(0.0, "cam:1:1", ""), observation(0.2, ""), observation(0.4, "cam:1:1", "cam:1:2")]
    )
    assert {each.track_id for each in tracks.at(0.2)} == {"", "cam:1:1"}
    assert {each.track_id for each in tracks.at(0.3)} == {"cam:1:1"}


def test_phrase_is_that_of_the_nearer_sighting_and_the_score_moves() -> None:
    tracks = Tracks(
        [
            Observation(1, 0.0, (seen(0.0, phrase="car", score=0.4),)),
            Observation(1, 1.0, (seen(1.0, phrase="van", score=0.8),)),
        ]
    )
    assert [tracks.at(t)[0].phrase for t in (0.4, 0.6)] == ["car", "van"]
    assert tracks.at(0.25)[0].score == pytest.approx(0.5)
    assert tracks.phrases() == ("car", "van")
    assert tracks.best_s(0.0, 0.5) == 0.0
    assert tracks.best_s(0.1, 0.9) is None


def test_observations_in_any_order_and_twice_count_once() -> None:
    observations = [observation(0.2, "cam:1:1"), observation(0.0, "cam:1:1"), observation(0.2, "cam:1:1")]
    assert [each.time_s for each in Tracks(observations).observations] == [0.0, 0.2]


def test_no_observations_no_objects() -> None:
    assert Tracks([]).at(1.0) == ()
    assert Timeline(1.0).slice(0.0, 9.0) == ()


def test_a_timeline_is_bounded_by_time() -> None:
    timeline = Timeline(keep_s=1.0)
    for number in range(1000):
        timeline.add(observation(number / 10, "cam:1:1"))
    assert len(timeline) == 11
    assert [each.time_s for each in timeline.slice(99.0, 99.3)] == pytest.approx([99.0, 99.1, 99.2, 99.3])


def test_a_timeline_is_bounded_by_objects_and_counts_what_it_forgot() -> None:
    timeline = Timeline(keep_s=100.0, most_objects=10)
    for number in range(20):
        timeline.add(observation(float(number), *(["cam:1:1"] * (number % 3))))
    assert timeline.forgotten_early > 0
    assert sum(max(1, len(each.objects)) for each in timeline.slice(0, 99)) <= 10


def test_a_new_epoch_starts_afresh() -> None:
    timeline = Timeline(keep_s=10.0)
    timeline.add(observation(50.0, "cam:1:1"))
    timeline.add(observation(0.5, "cam:2:1", epoch=2))
    assert [each.epoch for each in timeline.slice(0.0, 100.0)] == [2]


def test_a_result_becomes_parts_of_the_picture_without_lost_objects() -> None:
    found = result(3, size=(640, 360))
    made = observation_of(found)
    assert made is not None
    assert [each.state for each in made.objects] == ["confirmed", "tentative"]
    box = np.array(made.objects[0].box) * (640, 360, 640, 360)
    assert box == pytest.approx(found.detections.xyxy[0], abs=1e-3)
    assert observation_of(result(3, stale=True)) is None


def test_a_score_that_is_no_number_is_none() -> None:
    found = result(1)
    broken = dataclasses.replace(found, objects=(found.objects[0]._replace(score=math.nan),))
    observed = observation_of(broken)
    assert observed is not None
    assert [each.score for each in observed.objects] == [0.0]


def test_boxes_that_are_no_numbers_are_left_out() -> None:
    found = result(4)
    broken = found.objects[0]._replace(box=(0.0, math.nan, 1.0, 1.0))
    found = dataclasses.replace(found, objects=(broken, *found.objects[1:]))
    made = observation_of(found)
    assert made is not None
    assert len(made.objects) == 2
