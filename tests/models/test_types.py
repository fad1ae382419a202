import numpy as np
import pytest

from groundstream.models.base import join_columns
from groundstream.models.types import PicturePlan, Prompt, RawDetections, SizeRule


def test_prompt_keeps_order_and_drops_repetitions_ignoring_case() -> None:
    assert Prompt.of(["Red  car", " dog", "red car"]).phrases == ("Red car", "dog")


@pytest.mark.parametrize("phrase", ["红色汽车", "🚗", "naïve café", "e\u0301clair"])
def test_prompt_takes_any_script(phrase: str) -> None:
    (kept,) = Prompt.of([phrase]).phrases
    assert kept in (phrase, "éclair")


@pytest.mark.parametrize(
    ("phrases", "message"),
    [
        (["dog", "  "], "phrase 2 is empty"),
        (["\u200b"], "phrase 1 is empty"),
        ([], "no phrase given"),
        ("dog", "list of strings"),
    ],
)
def test_prompt_refuses_what_cannot_be_asked(phrases: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prompt.of(phrases)


def test_prompt_id_depends_on_phrases_order_and_sentence() -> None:
    ids = {
        Prompt.of(["a", "b"]).id,
        Prompt.of(["b", "a"]).id,
        Prompt.of(["a b"]).id,
        Prompt.of(["a", "b"], sentence="a near b").id,
    }
    assert len(ids) == 4
    assert Prompt.of(["a", "b"]).id == Prompt.of(["a", "b"]).id


@pytest.mark.parametrize(
    ("rule", "frame", "content", "canvas"),
    [
        (SizeRule("stretch", 768, 768), (360, 640), (768, 768), (768, 768)),
        (SizeRule("fit", 416, 416), (576, 768), (312, 416), (416, 416)),
        (SizeRule("fit", 416, 416), (1, 5000), (1, 416), (416, 416)),
        (SizeRule("short_side", 800, 1333), (480, 640), (800, 1066), (800, 1066)),
        (SizeRule("short_side", 800, 1333, 32), (480, 640), (800, 1066), (800, 1088)),
        (SizeRule("short_side", 800, 1333), (640, 427), (1199, 800), (1199, 800)),
        (SizeRule("short_side", 800, 1333), (300, 1000), (400, 1333), (400, 1333)),
    ],
)
def test_size_rules(
    rule: SizeRule, frame: tuple[int, int], content: tuple[int, int], canvas: tuple[int, int]
) -> None:
    plan = rule.plan(*frame)
    assert plan.content_px == content
    assert plan.canvas_px == canvas


def test_size_rule_refuses_a_frame_without_pixels() -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        SizeRule("fit", 416, 416).plan(0, 10)


def test_boxes_come_back_to_the_frame_clipped() -> None:
    plan = PicturePlan(frame_px=(100, 200), content_px=(50, 50), canvas_px=(64, 64))
    boxes = np.array([[0, 0, 50, 50], [25, 10, 60, 60], [-5, -5, 5, 5]], np.float32)
    expected = [[0, 0, 200, 100], [100, 20, 200, 100], [0, 0, 20, 10]]
    np.testing.assert_allclose(plan.to_frame(boxes), expected)
    assert plan.to_frame(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_join_columns_puts_phrases_side_by_side_best_first() -> None:
    one = RawDetections(np.array([[0, 0, 1, 1]], np.float32), np.array([[0.4, 0.2]], np.float32))
    two = RawDetections(np.array([[2, 2, 3, 3]], np.float32), np.array([[0.9]], np.float32))
    joined = join_columns([one, two])
    np.testing.assert_allclose(joined.phrase_scores, [[0, 0, 0.9], [0.4, 0.2, 0]])
    np.testing.assert_allclose(joined.boxes_model[:, 0], [2, 0])
    assert join_columns([RawDetections.empty(2), RawDetections.empty(1)]).phrase_scores.shape == (0, 3)
