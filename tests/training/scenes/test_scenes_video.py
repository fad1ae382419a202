import hashlib
from dataclasses import replace

import numpy as np
import pytest
from drawings import drawn_bank, drawn_vocabulary

from training.scenes.bank import TRAIN
from training.scenes.paths import Camera, Path, draw_path
from training.scenes.video import (
    VideoConfig,
    VideoGenerator,
    find_events,
)

SMALL = VideoConfig(frames=8, height_px=96, width_px=128, interval_s=0.2, phrases=8, present=4, restyle=0.0)


def clips(**changes):
    return VideoGenerator(drawn_bank(), drawn_vocabulary(), TRAIN, replace(SMALL, **changes))


def digest(sample):
    parts = [sample.frames.tobytes(), sample.boxes.tobytes(), repr((sample.events, sample.phrases)).encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_same_seed_same_clip():
    first = [digest(clips().sample(index)) for index in range(4)]
    again = clips()
    assert [digest(again.sample(index)) for index in reversed(range(4))] == first[::-1]
    assert len(set(first)) == 4


def test_shapes_times_and_truth():
    for index in range(10):
        sample = clips(irregular=1.0).sample(index)
        tracks = len(sample.objects)
        assert sample.frames.shape == (8, 96, 128, 3)
        assert sample.boxes.shape == sample.boxes_amodal.shape == (8, tracks, 4)
        assert sample.visibility.shape == (8, tracks)
        assert sample.truth.shape == (len(sample.phrases), tracks)
        assert sample.times_s[0] == 0
        assert (np.diff(sample.times_s) > 0.05).all()
        assert np.diff(sample.times_s).std() > 0.01
        hidden = sample.visibility == 0
        assert (sample.boxes[hidden] == 0).all()
        shown = ~hidden
        assert (sample.boxes[shown][:, 2:] > sample.boxes[shown][:, :2]).all()


def test_motion_does_not_depend_on_the_frame_rate():
    sparse, dense = clips(interval_s=0.2).sample(0), clips(interval_s=0.1, frames=15).sample(0)
    assert np.allclose(dense.times_s[::2], sparse.times_s)
    assert (dense.frames[::2] == sparse.frames).all()
    assert (dense.boxes[::2] == sparse.boxes).all()


@pytest.mark.parametrize(
    ("speed", "low", "high"), [("static", 0, 0), ("slow", 0.002, 0.2), ("fast", 0.2, 1.2)]
)
def test_speed_classes(speed, low, high):
    rng, world = np.random.default_rng(0), np.array([160.0, 120.0])
    for _ in range(30):
        path = replace(draw_path(rng, speed, world, 2.0), kind="linear")
        moved = np.hypot(*np.subtract(path.at(1.0), path.at(0.0))) / 100
        assert low * 0.35 - 1e-9 <= moved <= high + 1e-9


def test_stop_and_go_stands_half_of_the_time():
    path = Path("stop-and-go", "slow", (0, 0), (10, 0), beat_s=(1.0, 0.0))
    assert [path.at(time)[0] for time in (0, 0.25, 0.5, 1.0, 1.25, 2.0)] == [0, 2.5, 5, 5, 7.5, 10]


def test_arc_turns_with_constant_speed():
    path = Path("arc", "slow", (0, 0), (10, 0), turn_rad=np.pi / 2)
    steps = np.diff([path.at(time) for time in np.linspace(0, 1, 101)], axis=0)
    assert np.hypot(*steps.T) == pytest.approx(0.1, rel=1e-3)
    assert steps[-1] == pytest.approx((0, 0.1), abs=2e-3)


def test_camera_pans_and_zooms():
    camera = Camera((100, 50), (10, 0), np.log(2), 0.0, np.zeros((3, 4)))
    assert camera.view(0, (80, 60)) @ (100, 50, 1) == pytest.approx((40, 30))
    assert camera.view(1, (80, 60)) @ (110, 50, 1) == pytest.approx((40, 30))
    assert camera.view(1, (80, 60)) @ (120, 50, 1) == pytest.approx((60, 30))


def test_events_of_one_track():
    boxes = np.array([[-20, 0, -10, 10], [-5, 0, 5, 10], [20, 0, 30, 10], [30, 0, 40, 10], [200, 0, 210, 10]])
    visibility = np.array([0, 0.5, 0.05, 1, 0], np.float32)[:, None]
    times_s = np.arange(5) * 0.5
    events = find_events(visibility, boxes[:, None].astype(np.float32), times_s, (100, 100))
    assert [(event.kind, event.track, event.frame, event.time_s) for event in events] == [
        ("enter", 0, 1, 0.5),
        ("hidden", 0, 2, 1.0),
        ("back", 0, 3, 1.5),
        ("leave", 0, 4, 2.0),
    ]


def test_generated_clips_have_events_of_every_kind():
    config = {"frames": 12, "interval_s": 0.3, "most_objects": 6, "phrases": 0}
    kinds = {event.kind for index in range(40) for event in clips(**config).sample(index).events}
    assert kinds == {"enter", "leave", "hidden", "back"}


def test_a_clip_has_a_frame():
    with pytest.raises(ValueError, match="got 0 frames"):
        replace(SMALL, frames=0)
