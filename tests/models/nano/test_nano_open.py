"""The open branch of glip-nano: its dictionary, its boxes, its names, and what ships of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from groundstream.models.common.tensor_file import read_tensors
from groundstream.models.errors import ModelError
from groundstream.models.nano.config import COCO_NAMES, SHIPPED, NanoConfig
from groundstream.models.nano.grounder import NanoGrounder
from groundstream.models.nano.open_branch import OpenBranch, OpenWords, Scale
from groundstream.models.nano.open_candidates import (
    LARGEST_DOUBT,
    Scene,
    concept_chances,
    doubt,
    doubtful_rows,
    find_open,
    join_candidates,
)
from groundstream.models.nano.open_head import OpenConfig, OpenHead, move_boxes
from groundstream.models.nano.postprocess import Candidates
from groundstream.models.nano.rows import FINE, Meanings, join_rows, meanings_of
from groundstream.models.nano.sampling import sample_boxes
from groundstream.models.nano.text import ROW_WIDTH
from groundstream.models.types import Prompt
from training.nano.store import branch_tensors, words_tensor

DATA = Path(__file__).parents[2] / "data" / "nano"
CONFIG = NanoConfig()
ENTRIES = {
    ("ear", "of", "corn"): (0,),
    ("ear",): (1,),
    ("guitar",): (2,),
    ("guitars",): (2,),
    ("toy", "guitar"): (3,),
    ("instrument",): (2, 3),
    ("dog",): (4,),
}


@pytest.fixture(scope="module")
def grounder() -> NanoGrounder:
    return NanoGrounder.from_name("glip-nano", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def street() -> torch.Tensor:
    """(1, 320, 416, 3) uint8; 312 rows are picture."""
    canvas = np.zeros((1, 320, 416, 3), np.uint8)
    canvas[0, :312] = np.array(Image.open(DATA / "street.png"))
    return torch.from_numpy(canvas)


@pytest.mark.parametrize(
    ("phrase", "own_words", "expected"),
    [
        ("a red ear of corn", 1, [0]),  # the whole phrase before its noun
        ("ear", 1, [1]),
        ("two small guitars", 1, [2]),
        ("electric guitar", 1, [2]),  # the end of the noun
        ("my toy guitar", 1, [3]),
        ("musical instrument", 1, [2, 3]),
        ("hot dog", 2, []),  # a compound of its own meaning is no dog
        ("guitar case", 1, []),
        ("xyzzy", 1, []),
        ("🚗", 1, []),
    ],
)
def test_words_mean_concepts(phrase: str, own_words: int, expected: list[int]) -> None:
    words = OpenWords(ENTRIES, 5)
    for each in (words, OpenWords.from_tensor(words_tensor(words), 5)):
        assert each.lookup(phrase, own_words).nonzero().flatten().tolist() == expected


def test_a_phrase_has_rows_for_classes_and_one_for_concepts() -> None:
    frozen = torch.randn(2, ROW_WIDTH)
    concepts = torch.tensor([0.0, 1, 1])
    both, open_only, frozen_only = (
        join_rows(frozen, concepts, "red toy"),
        join_rows(frozen[:0], concepts, "toy"),
        join_rows(frozen, torch.zeros(3), "dog"),
    )
    assert [len(rows) for rows in (both, open_only, frozen_only)] == [3, 1, 2]
    meanings = meanings_of(torch.cat((both, open_only, frozen_only)), [(0, 3), (3, 4), (4, 6), (6, 6)])
    assert meanings.gates.tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert meanings.known.tolist() == [True, False, True, False]


def test_points_lie_at_the_middles_of_equal_parts() -> None:
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(16.0), indexing="ij")
    level = torch.stack((columns, rows))[None]  # stride 4 on a canvas of 32 x 64 px
    read = sample_boxes(level, torch.tensor([[8.0, 4, 24, 20]]), 2, (32, 64)).view(4, 2)
    # A point at x pixels lies at x / 4 - 0.5 on the map.
    assert read.tolist() == [[2.5, 1.5], [4.5, 1.5], [2.5, 3.5], [4.5, 3.5]]


def test_no_delta_moves_no_box() -> None:
    boxes = torch.tensor([[8.0, 4, 24, 20], [0, 0, 1, 1]])
    assert torch.equal(move_boxes(boxes, torch.zeros(2, 4)), boxes)
    moved = move_boxes(boxes[:1], torch.tensor([[0.5, 0, 0, 0.6931472]]))
    torch.testing.assert_close(moved, torch.tensor([[16.0, -4, 32, 28]]))


def branch(seed: int = 0) -> OpenBranch:
    torch.manual_seed(seed)
    head = OpenHead(OpenConfig(), CONFIG, 5).eval().requires_grad_(False)
    return OpenBranch(head, OpenWords(ENTRIES, 5), torch.zeros(5, 80), Scale(1.0, 0.0, 0.0), torch.zeros(5))


def scene(canvas: tuple[int, int] = (64, 96), content: tuple[int, int] = (60, 90)) -> Scene:
    torch.manual_seed(1)
    height, width = canvas
    regions = [torch.randn(height * width // stride**2, 128) for stride in (8, 16, 32)]
    maps = [
        torch.randn(1, depth, height // stride, width // stride)
        for depth, stride in zip(OpenConfig().reduced, (4, 8, 16, 32), strict=True)
    ]
    return Scene(regions, maps, content, canvas)


def test_proposals_are_few_apart_and_inside_the_picture() -> None:
    head, view = branch().head, scene()
    found = head.propose(view.regions, view.widths(CONFIG.strides_px), view.content_px)
    assert 0 < len(found.boxes) <= OpenConfig().most_boxes
    assert (found.scores.diff() <= 0).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= torch.tensor([90, 60, 90, 60])).all()
    assert found.cells.numbers.max() < sum(len(region) for region in view.regions)


def test_a_stored_branch_is_the_branch() -> None:
    before = branch()
    after = OpenBranch.from_tensors(branch_tensors(before), CONFIG)
    assert after.scale == before.scale
    assert torch.equal(after.bias, before.bias)
    assert after.words.lookup("guitar").tolist() == before.words.lookup("guitar").tolist()
    for name, value in before.head.state_dict().items():
        assert torch.equal(after.head.state_dict()[name], value.half().float())


def test_what_else_a_class_may_look_like_is_fine() -> None:
    torch.manual_seed(0)
    alike = torch.zeros(5, 80)
    alike[[0, 4], 16] = 1
    dogs = OpenBranch(branch().head, OpenWords(ENTRIES, 5), alike, Scale(0.0, 0.0, 0.0), torch.zeros(5))
    classes = torch.zeros(80, dtype=torch.bool)
    assert dogs.gates("dog", classes).tolist() == [0, 0, 0, 0, 1]
    classes[16] = True
    assert dogs.gates("dog", classes).tolist() == [FINE, 0, 0, 0, 1]
    assert dogs.gates("dachshund", classes).tolist() == [FINE, 0, 0, 0, FINE]
    assert dogs.gates("ear", classes).tolist() == [FINE, 1, 0, 0, FINE]
    meanings = Meanings(dogs.gates("ear", classes)[None], torch.tensor([True]))
    assert meanings.meant.tolist() == [[0, 1, 0, 0, 0]]
    assert meanings.fine.tolist() == [[1, 1, 0, 0, 1]]


def test_only_what_is_asked_and_known_is_scored(grounder: NanoGrounder) -> None:
    meanings = Meanings(torch.tensor([[1.0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]), torch.tensor([False, False]))
    opened, view = branch(), scene()
    proposals = opened.head.propose(view.regions, view.widths(CONFIG.strides_px), view.content_px)
    named = opened.head(view.maps, proposals.boxes, view.canvas_px)
    found = find_open(opened, grounder._network.head, proposals, named, meanings)
    assert (found.scores[:, 0] > 0).all()
    assert not found.scores[:, 1].any()


def test_a_bias_is_its_concepts_and_that_of_a_kind_is_their_mean(grounder: NanoGrounder) -> None:
    meanings = Meanings(torch.tensor([[1.0, 0, 0, 0, 0], [1, 1, 0, 0, 0]]), torch.tensor([False, False]))
    plain, frozen = branch(), grounder._network.head
    shy = replace(plain, bias=torch.tensor([-2.0, 0, 0, 0, 0]))
    view = scene()
    proposals = plain.head.propose(view.regions, view.widths(CONFIG.strides_px), view.content_px)
    named = plain.head(view.maps, proposals.boxes, view.canvas_px)
    chances = concept_chances(plain, frozen, proposals, named, torch.arange(5))
    before, after = (
        find_open(each, frozen, proposals, named, meanings).scores.logit() for each in (plain, shy)
    )
    torch.testing.assert_close(after[:, 0], before[:, 0] - 2, atol=1e-3, rtol=0)
    share = chances[:, 0] / chances[:, :2].sum(1)
    torch.testing.assert_close(after[:, 1], before[:, 1] - 2 * share, atol=1e-3, rtol=0)
    assert len(named.boxes) == len(chances) == len(after)


def test_a_branch_without_a_bias_for_each_concept_is_refused() -> None:
    tensors = branch_tensors(branch())
    with pytest.raises(ModelError, match="a bias for each of 5 concepts"):
        OpenBranch.from_tensors(tensors | {"open.bias": torch.zeros(4)}, CONFIG)


def test_doubt_lowers_a_little_and_only_where_something_else_is_seen() -> None:
    found = Candidates(torch.tensor([[8.0, 8, 40, 40], [16, 8, 60, 50]]), torch.tensor([[0.6, 0], [0, 0.6]]))
    sees_zero = branch()
    sees_zero.head.concepts.bias[0] = 100  # every box is concept 0
    meanings = Meanings(torch.tensor([[0.0, 1, 0, 0, 0], [1, 0, 0, 0, 0]]), torch.tensor([True, True]))
    rows, view = doubtful_rows(found, meanings), scene()
    concepts = sees_zero.head(view.maps, found.boxes[rows], view.canvas_px).concepts
    doubted = doubt(found, rows, concepts, meanings).scores
    assert float(doubted[0, 0].logit()) == pytest.approx(
        float(found.scores[0, 0].logit()) - LARGEST_DOUBT, abs=1e-4
    )
    assert torch.equal(doubted[1], found.scores[1])
    assert doubted[0, 1] == 0


def test_the_same_box_from_both_sides_is_one() -> None:
    one = Candidates(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[0.5, 0.0]]))
    other = Candidates(torch.tensor([[0.0, 0, 10, 9]]), torch.tensor([[0.7, 0.3]]))
    joined = join_candidates(one, other, 0.1)
    assert joined.scores.tolist() == [[pytest.approx(0.7), pytest.approx(0.3)]]
    assert len(join_candidates(one, other, 0.9).boxes) == 0


@pytest.mark.parametrize(
    ("phrase", "known"),
    [
        ("guitar", True),
        ("a wooden ladder", True),
        ("claymore", True),  # a sword, says WordNet
        ("traffic cone", True),
        ("glass of milk", True),
        ("person", True),
        ("xyzzy", False),
        ("happiness", False),
    ],
)
def test_the_shipped_dictionary(grounder: NanoGrounder, phrase: str, known: bool) -> None:
    assert (grounder.unknown_phrases(Prompt.of([phrase])) == ()) == known


def test_the_shipped_branch_says_which_concepts_are_people() -> None:
    tensors = read_tensors(SHIPPED)
    words = OpenWords.from_tensor(tensors["open.words"], len(tensors["open.alike"]))
    person = COCO_NAMES.index("person")
    for phrase, expected in (("firefighter", 1), ("guitar", 0), ("hand", 1), ("traffic cone", 0)):
        (concept, *_) = words.lookup(phrase).nonzero().flatten().tolist()
        assert tensors["open.alike"][concept, person] == expected, phrase


def test_absent_things_are_not_found_on_a_real_street(grounder: NanoGrounder, street: torch.Tensor) -> None:
    phrases = ("guitar", "wrench", "toothbrush", "pineapple", "wheelchair", "penguin", "trumpet", "sofa")
    text = grounder.encode_text([Prompt.of(phrases)])
    (raw,) = grounder.detect(street, torch.tensor([[312, 416]]), [text], grounder.preset.score)
    assert raw.phrase_scores.size == 0
