import hashlib
from dataclasses import replace

import numpy as np
import pytest
from drawings import drawn_bank, drawn_vocabulary

from groundstream.models.adaptation.corruptions import CORRUPTIONS, add_noise, corrupt
from training.scenes.bank import TRAIN
from training.scenes.paths import Camera, Path, draw_path
from training.scenes.video import (
    VideoConfig,
    VideoGenerator,
    drop_frames,
    find_events,
    repeat_frames,
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


def test_dropped_frames_keep_true_times():
    sample = clips().sample(1)
    dropped = drop_frames(sample, 0.5, np.random.default_rng(0))
    assert 1 < len(dropped.times_s) < 8
    rows = np.flatnonzero(np.isin(sample.times_s, dropped.times_s))
    assert rows[0] == 0
    assert (dropped.frames == sample.frames[rows]).all()
    assert (dropped.boxes == sample.boxes[rows]).all()
    assert len(drop_frames(sample, 1.0, np.random.default_rng(0)).times_s) == 1


def test_repeated_frames_show_what_their_truth_says():
    sample = clips(speed="fast").sample(2)
    again = repeat_frames(sample, 0.5, np.random.default_rng(1))
    assert (again.times_s == sample.times_s).all()
    repeated = [number for number in range(1, 8) if (again.frames[number] == again.frames[number - 1]).all()]
    assert repeated
    for number in repeated:
        assert (again.boxes[number] == again.boxes[number - 1]).all()


@pytest.fixture(scope="module")
def clip():
    sample = clips().sample(3)
    return sample.frames, sample.times_s


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_corruption(clip, kind):
    frames, times_s = clip
    before = frames.copy()
    spoiled = {}
    for severity in (0.0, 0.3, 1.0):
        spoiled[severity], again = (
            corrupt(frames, times_s, kind, severity, np.random.default_rng(5)) for _ in range(2)
        )
        assert (spoiled[severity].shape, spoiled[severity].dtype) == (frames.shape, np.uint8)
        assert (spoiled[severity] == again).all()
    assert (frames == before).all()
    assert (spoiled[0.0] == frames).all()
    changes = [np.abs(spoiled[severity].astype(int) - frames).mean() for severity in (0.3, 1.0)]
    assert 0 < changes[0] < changes[1]


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_corruption_of_a_still_of_odd_size(kind):
    still = np.random.default_rng(0).integers(0, 256, (1, 61, 75, 3), dtype=np.uint8)
    spoiled = corrupt(still, np.zeros(1), kind, 0.8, np.random.default_rng(0))
    assert spoiled.shape == still.shape
    assert (spoiled != still).any()


def test_weather_follows_the_clock(clip):
    frames, _ = clip
    still = np.repeat(frames[:1], 3, axis=0)
    for kind in ("rain", "occluders"):
        first = corrupt(still, np.array([0.0, 0.1, 0.2]), kind, 0.7, np.random.default_rng(0))
        later = corrupt(still, np.array([0.0, 0.2, 0.3]), kind, 0.7, np.random.default_rng(0))
        assert (first[2] == later[1]).all()


def test_dirt_stays_in_place(clip):
    frames, _ = clip
    still = np.repeat(frames[:1], 2, axis=0)
    spoiled = corrupt(still, np.array([0.0, 5.0]), "dirt", 0.7, np.random.default_rng(0))
    assert (spoiled[0] == spoiled[1]).all()


def test_wrong_arguments_are_named(clip):
    frames, times_s = clip
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="unknown corruption 'fog'"):
        corrupt(frames, times_s, "fog", 0.5, rng)
    with pytest.raises(ValueError, match=r"0\.\.1, but got 2"):
        corrupt(frames, times_s, "noise", 2, rng)
    with pytest.raises(ValueError, match="expected 8 times"):
        corrupt(frames, times_s[:3], "noise", 0.5, rng)
    with pytest.raises(ValueError, match="got 0 frames"):
        replace(SMALL, frames=0)


def test_noise_for_pictures_larger_than_its_sheet():
    gray = np.full((1700, 1700, 3), 128, np.uint8)
    noisy = add_noise(gray, 0.5, np.random.default_rng(0)).astype(int)
    assert noisy.std() == pytest.approx(27.5, rel=0.1)
    assert noisy.mean() == pytest.approx(128, abs=1)
