import numpy as np
import pytest
import supervision as sv

from groundstream.models.types import PicturePlan, Prompt, RawDetections
from groundstream.operators.frames import to_detections
from groundstream.operators.tracking.association import PhraseTracker, merge_overlapping
from groundstream.operators.tracking.phrases import PhraseMemory, PhraseRule
from groundstream.operators.tracking.tracker import Tracker

PLAN = PicturePlan(frame_px=(200, 400), content_px=(100, 200), canvas_px=(100, 200))
PROMPT = Prompt.of(["red car", "dog"])


def no_frame() -> np.ndarray:
    raise AssertionError("this tracker does not need the frame")


class Scene:
    """A tracker fed by hand at 10 frames a second; boxes are in model pixels (half the frame's)."""

    def __init__(self, prompt: Prompt = PROMPT) -> None:
        self.prompt, self.step, self.epoch = prompt, 0, 1
        memory = PhraseMemory(prompt, PhraseRule(0.5, 0.35))
        tracker = Tracker("bytetrack", start_score=0.5, frame_rate=10)
        self.tracks = PhraseTracker("cam", tracker, memory, score=0.5, overlap_iou=0.7)

    def see(self, *objects: tuple[float, tuple[float, ...]]) -> sv.Detections:
        boxes = np.array([[x, 10, x + 20, 50] for x, _ in objects], np.float32).reshape(-1, 4)
        table = np.array([scores for _, scores in objects], np.float32)
        raw = RawDetections(boxes, table.reshape(-1, len(self.prompt.phrases)))
        self.step += 1
        self.objects = self.tracks.update(
            raw, PLAN, self.prompt, epoch=self.epoch, time_s=self.step / 10, frame_bgr=no_frame
        )
        return to_detections(self.objects, len(self.prompt.phrases))


def test_boxes_come_in_frame_pixels_with_phrase_id_and_state() -> None:
    scene = Scene()
    first = scene.see((10, (0.9, 0.1)))
    assert first.data["state"].tolist() == ["tentative"]
    assert first.data["track_uid"].tolist() == [""]
    second = scene.see((11, (0.9, 0.1)))
    assert second.data["state"].tolist() == ["confirmed"]
    assert second.data["track_uid"].tolist() == ["cam:1:1"]
    assert second.data["phrase"].tolist() == ["red car"]
    np.testing.assert_allclose(second.xyxy, [[22, 20, 62, 100]])
    np.testing.assert_allclose(second.data["phrase_scores"], [[0.9, 0.1]])
    np.testing.assert_allclose(second.confidence, [0.9])
    (seen,) = scene.objects
    assert (seen.track_id, seen.number, seen.phrase, seen.phrase_index) == ("cam:1:1", 1, "red car", 0)
    assert (seen.state, seen.interpolated, seen.zones) == ("confirmed", False, ())
    assert seen.score == seen.phrase_scores[0] == pytest.approx(0.9)
    assert seen.box == pytest.approx((22, 20, 62, 100))
    assert seen.age_s == pytest.approx(0.0)


def test_a_confirmed_object_that_is_missed_is_lost_then_gone() -> None:
    scene = Scene()
    for x in range(5):
        scene.see((10 + x, (0.9, 0.1)))
    lost = scene.see()
    assert lost.data["state"].tolist() == ["lost"]
    assert lost.data["interpolated"].tolist() == [True]
    for _ in range(12):
        gone = scene.see()
    assert len(gone) == 0


def test_a_lost_object_that_leaves_the_picture_gives_no_box_outside_it() -> None:
    scene = Scene()
    for x in range(150, 200, 8):
        found = scene.see((x, (0.9, 0.1)))
    for _ in range(8):
        found = scene.see()
        assert (found.xyxy[:, 2] <= 400).all()
        assert (found.xyxy[:, 2] > found.xyxy[:, 0]).all()


def test_a_change_of_the_query_keeps_the_id_and_takes_effect_at_once() -> None:
    scene = Scene()
    for x in range(5):
        scene.see((10 + x, (0.9, 0.1)))
    scene.prompt = Prompt.of(["vehicle"])
    changed = scene.see((15, (0.8,)))
    assert changed.data["track_uid"].tolist() == ["cam:1:1"]
    assert changed.data["phrase"].tolist() == ["vehicle"]


def test_a_track_that_answers_to_nothing_any_more_is_not_reported() -> None:
    scene = Scene()
    for x in range(5):
        scene.see((10 + x, (0.9, 0.1)))
    scene.prompt = Prompt.of(["boat"])
    assert len(scene.see((15, (0.4,)))) == 0
    back = scene.see((16, (0.9,)))
    assert back.data["track_uid"].tolist() in (["cam:1:1"], [])


def test_a_new_epoch_forgets_tracks_and_counts_from_one() -> None:
    scene = Scene()
    for x in range(5):
        scene.see((10 + x, (0.9, 0.1)))
    scene.epoch, scene.step = 2, 0
    assert scene.see((15, (0.9, 0.1))).data["state"].tolist() == ["tentative"]
    assert scene.see((15, (0.9, 0.1))).data["track_uid"].tolist() == ["cam:2:1"]


def test_no_objects_have_all_fields() -> None:
    empty, found = to_detections((), 2), Scene().see((10, (0.9, 0.1)))
    assert {name: column.dtype.kind for name, column in empty.data.items()} == {
        name: column.dtype.kind for name, column in found.data.items()
    }
    assert empty.data["phrase_scores"].shape == (0, 2)
    assert empty.xyxy.shape == (0, 4)
    for name in ("confidence", "class_id", "tracker_id"):
        assert getattr(empty, name).dtype == getattr(found, name).dtype


def raw(*rows: tuple[tuple[float, float, float, float], tuple[float, ...]]) -> RawDetections:
    return RawDetections(
        np.array([box for box, _ in rows], np.float32), np.array([scores for _, scores in rows], np.float32)
    )


def test_one_thing_under_two_phrases_is_one_candidate() -> None:
    merged = merge_overlapping(raw(((0, 0, 10, 10), (0.9, 0)), ((0, 0, 10, 9), (0.1, 0.6))), 0.7)
    np.testing.assert_allclose(merged.boxes_model, [[0, 0, 10, 10]])
    np.testing.assert_allclose(merged.phrase_scores, [[0.9, 0.6]])


def test_apart_stays_apart() -> None:
    candidates = raw(((0, 0, 10, 10), (0.9,)), ((8, 0, 18, 10), (0.8,)))
    assert len(merge_overlapping(candidates, 0.7).boxes_model) == 2


def test_a_merged_box_does_not_pull_in_its_own_neighbours() -> None:
    chain = raw(((0, 0, 10, 10), (0.9,)), ((2, 0, 12, 10), (0.8,)), ((4, 0, 14, 10), (0.7,)))
    np.testing.assert_allclose(merge_overlapping(chain, 0.6).boxes_model[:, 0], [0, 4])


def test_empty_and_single_and_flat_boxes() -> None:
    assert merge_overlapping(RawDetections.empty(3), 0.7).phrase_scores.shape == (0, 3)
    one = raw(((0, 0, 10, 10), (0.9,)))
    assert merge_overlapping(one, 0.7) is one
    flat = raw(((0, 0, 0, 10), (0.9,)), ((0, 0, 0, 10), (0.8,)))
    assert 1 <= len(merge_overlapping(flat, 0.7).boxes_model) <= 2
