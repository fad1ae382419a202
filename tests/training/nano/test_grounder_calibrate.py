"""The biases of the open branch's concepts: fitted, masked, and stored with the branch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from groundstream.models.nano.config import NanoConfig
from groundstream.models.nano.network import NanoHead
from groundstream.models.nano.open_branch import OpenBranch, OpenWords, Scale
from groundstream.models.nano.open_candidates import Scene
from groundstream.models.nano.open_head import OpenConfig, OpenHead
from training.nano.cache import Frozen
from training.nano.calibrate import (
    Answers,
    Known,
    answers_of_photograph,
    answers_of_scene,
    crops,
    fit_biases,
    photograph_answers,
    scene_chances,
)
from training.nano.names import allowed_concepts
from training.scenes.bank import Photograph
from training.scenes.generator import SceneSample
from training.scenes.vocabulary import Concept, Vocabulary
from training.scenes.wardrobe import SceneObject

NAMES = ("cat", "cup", "dog")
CANVAS = (64, 64)


def known() -> Known:
    vocabulary = Vocabulary(
        [Concept("animal"), *(Concept(n, (), ("animal",)) for n in ("cat", "dog")), Concept("cup")]
    )
    return Known({name: row for row, name in enumerate(NAMES)}, allowed_concepts(vocabulary, NAMES))


def parts() -> tuple[OpenBranch, NanoHead, Scene]:
    torch.manual_seed(0)
    config = NanoConfig()
    head = OpenHead(OpenConfig(), config, len(NAMES)).eval().requires_grad_(False)
    branch = OpenBranch(head, OpenWords({}, 3), torch.zeros(3, 80), Scale(0, 0, 0), torch.zeros(3))
    frozen = NanoHead(config, 80).eval().requires_grad_(False)
    frozen.names_bias.fill_(-9.0)  # sees nothing
    regions = [torch.randn(64 * 64 // stride**2, 128) for stride in (8, 16, 32)]
    maps = [
        torch.randn(1, depth, 64 // stride, 64 // stride)
        for depth, stride in zip(OpenConfig().reduced, (4, 8, 16, 32), strict=True)
    ]
    return branch, frozen, Scene(regions, maps, CANVAS, CANVAS)


def sample(
    boxes: Sequence[Sequence[float]], shown: Sequence[str], background: tuple[str, ...]
) -> SceneSample:
    truth = np.array(boxes, np.float32).reshape(-1, 4)
    return SceneSample(
        np.zeros((*CANVAS, 3), np.uint8),
        tuple(SceneObject(name, "drawn", name, "") for name in shown),
        truth,
        truth,
        np.ones(len(truth), np.float32),
        (),
        np.zeros((0, len(truth)), bool),
        background,
    )


def answers(present: Sequence[float], concepts: Sequence[int], absent: Sequence[Sequence[float]]) -> Answers:
    return Answers(torch.tensor(present), torch.tensor(concepts), torch.tensor(absent))


def test_a_concept_that_fires_on_photographs_gets_a_lower_bias_than_its_neighbours() -> None:
    scenes = answers([2.0, 2, 2, 2, 2, 2], [0, 1, 2, 0, 1, 2], [[-6.0, -6, -6]] * 20)
    photographs = answers([], [], [[-6.0, 2, -6]] * 20)
    _, bias = fit_biases(scenes, photographs._replace(concepts=torch.zeros(0, dtype=torch.int64)))
    assert bias[1] < bias[0] - 0.5
    assert bias[0] == pytest.approx(float(bias[2]), abs=1e-4)


def test_a_shy_concept_gets_a_higher_bias_and_a_strong_prior_lets_nothing_move() -> None:
    scenes = answers([-1.0, 3, 3, -1, 3, 3], [0, 1, 2, 0, 1, 2], [[-6.0, -6, -6]] * 20)
    none = Answers(torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.full((1, 3), -6.0))
    _, bias = fit_biases(scenes, none)
    assert bias[0] > bias[1] + 0.3
    _, held = fit_biases(scenes, none, prior=1e6)
    assert held.abs().max() < 1e-3


def test_what_is_unknown_moves_nothing() -> None:
    scenes = answers([2.0, 2, 2], [0, 1, 2], [[-6.0, -6, -6]] * 5)
    hidden = Answers(torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.tensor([[-6.0, -6, -6]] * 4))
    loud = hidden._replace(absent=torch.tensor([[-6.0, -6, -6]] * 4 + [[-6, float("-inf"), -6]] * 9))
    before, after = fit_biases(scenes, hidden), fit_biases(scenes, loud)
    assert after[0] == pytest.approx(before[0], abs=1e-4)
    torch.testing.assert_close(after[1], before[1], atol=1e-4, rtol=0)


def test_in_a_scene_boxes_of_a_thing_speak_for_it_and_not_against_what_it_may_be() -> None:
    branch, frozen, scene = parts()
    boxes, chances = scene_chances(branch, frozen, scene)
    whole = boxes[0].tolist()
    found = answers_of_scene(branch, frozen, scene, sample([whole], ["cat"], ()), known())
    assert found.concepts.tolist() == [0]
    assert found.present[0] >= chances[0, 0].logit() - 1e-4
    # "cat" is not held against the cat's own box, "dog" is.
    assert found.absent.shape == (1, 3)
    assert found.absent[0, 2] == pytest.approx(float(chances[:, 2].max().logit()), abs=1e-4)
    assert found.absent[0, 0] <= chances[:, 0].max().logit() + 1e-4


def test_what_a_picture_may_show_is_not_held_against_it() -> None:
    branch, frozen, scene = parts()
    seen = answers_of_photograph(branch, frozen, scene, ("animal",), known())
    assert seen.absent[0].isinf().tolist() == [True, False, True]
    background = answers_of_scene(branch, frozen, scene, sample([], [], ("cup",)), known())
    assert background.absent[0].isinf().tolist() == [False, True, False]
    assert not len(background.present)
    joined = Answers.join([seen, background])
    assert joined.absent.shape == (2, 3)


def test_a_bank_without_photographs_for_it_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"make it again with `training\.data\.fetch`"):
        photograph_answers(Frozen(), parts()[0], known(), (), 3, 0)


def test_crops_are_square_and_the_same_for_the_same_seed() -> None:
    photograph = Photograph(
        np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8), "x", False, ("cup",)
    )
    first, second = (list(crops([photograph], 2, 64, seed=5)) for _ in range(2))
    assert [picture.shape for picture, _ in first] == [(64, 64, 3)] * 2
    assert first[0][1] == ("cup",)
    for (one, _), (other, _) in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
