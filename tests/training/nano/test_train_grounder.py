"""The training of the open branch: its losses, its files, and a tiny run that is stopped and goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from drawings import drawn_bank

from groundstream.models.common.tensor_file import read_tensors
from groundstream.models.nano.config import SHIPPED, NanoConfig
from groundstream.models.nano.open_branch import PREFIX, OpenBranch
from groundstream.models.nano.open_head import OpenConfig, OpenHead
from groundstream.models.nano.sampling import sample_boxes
from training.nano.cache import describe
from training.nano.names import (
    NamesBatch,
    NamesRecipe,
    allowed_concepts,
    first_reduction,
    kinds_loss,
    kinds_of,
    names_loss,
    reduce_described,
)
from training.nano.objects import cells_of, find_truth, objects_loss, recall
from training.nano.train import GrounderRecipe, train
from training.nano.words import open_words
from training.scenes.bank import BankWriter
from training.scenes.vocabulary import Concept, Vocabulary

SIDE = 64
STRIDES = NanoConfig().strides_px
NO_KINDS = torch.zeros(0, 4)


def head(concepts: int = 3) -> OpenHead:
    torch.manual_seed(0)
    return OpenHead(OpenConfig(), NanoConfig(), concepts)


def test_a_square_thing_is_learnt_where_it_lies() -> None:
    learner = head()
    anchors, counts = cells_of(STRIDES, SIDE)
    assert len(anchors) == sum(counts) == 64 + 16 + 4
    torch.testing.assert_close(anchors[:2], torch.tensor([[-16.0, -16, 24, 24], [-8, -16, 32, 24]]))
    boxes = torch.tensor([[10.0, 10, 50, 50], [torch.nan] * 4])
    truth = find_truth(boxes, anchors, counts)
    owned = truth.owners >= 0
    assert 0 < owned.sum() < 20
    assert torch.equal(truth.boxes[owned], boxes[:1].expand(int(owned.sum()), 4))
    regions = torch.randn(1, len(anchors), 128)
    optimizer = torch.optim.Adam(learner.parameters(), 1e-2)
    first = last = float("nan")
    for step in range(60):
        loss = objects_loss(learner, regions, [truth], counts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < first / 5
    assert recall(learner, regions, boxes[None], SIDE) == 1.0


def test_a_picture_without_things_has_a_loss() -> None:
    anchors, counts = cells_of(STRIDES, SIDE)
    truth = find_truth(torch.full((1, 4), torch.nan), anchors, counts)
    loss = objects_loss(head(), torch.randn(1, len(anchors), 128), [truth], counts)
    assert torch.isfinite(loss)


def test_raw_samples_reduced_are_samples_of_reduced_maps() -> None:
    learner, config = head(), OpenConfig()
    stages = [
        torch.randn(1, depth, SIDE // s, SIDE // s)
        for depth, s in zip(config.depths, (4, 8, 16, 32), strict=True)
    ]
    boxes = torch.tensor([[3.0, 5, 40, 60], [20, 20, 64, 30]])
    cached = reduce_described(learner, describe(learner, stages, boxes))
    direct = [
        sample_boxes(level, boxes, points, (SIDE, SIDE))
        for level, points in zip(learner.reduce_maps(stages), config.grid, strict=True)
    ]
    torch.testing.assert_close(cached, torch.cat(direct, 1), atol=1e-4, rtol=1e-4)


def test_first_reductions_are_centred_and_of_unit_spread() -> None:
    learner, config = head(), OpenConfig()
    width = sum(points**2 * depth for points, depth in zip(config.grid, config.depths, strict=True))
    described = torch.randn(200, width) * 0.1 + 3
    first_reduction(learner, described)
    reduced = reduce_described(learner, described)
    assert reduced.mean().abs() < 0.05
    assert 0.7 < reduced.std() < 1.1


def batch_of(label: int, also: list[int]) -> NamesBatch:
    torch.manual_seed(1)
    config = OpenConfig()
    width = sum(points**2 * depth for points, depth in zip(config.grid, config.depths, strict=True))
    mask = torch.zeros(1, 4, dtype=torch.bool)
    mask[0, also] = True
    box = torch.tensor([[4.0, 4, 30, 30]])
    return NamesBatch(torch.randn(1, width), box, box, torch.tensor([label]), mask)


def test_a_photograph_may_hold_what_it_is_said_to_hold() -> None:
    learner = head().eval()
    learner.concepts.bias.data = torch.tensor([0.0, 9, 0, 0])
    quiet = NamesRecipe(smoothing=0, dropout=0, hidden_points=0)
    strict, _ = names_loss(learner, batch_of(3, []), quiet, NO_KINDS)
    allowed, _ = names_loss(learner, batch_of(3, [1]), quiet, NO_KINDS)
    named, _ = names_loss(learner, batch_of(1, []), quiet, NO_KINDS)
    assert strict > 5
    assert allowed < 1
    assert named < 1


def test_a_dog_that_is_called_a_fox_is_a_lesser_fault_than_a_cup() -> None:
    vocabulary = Vocabulary(
        [Concept("animal"), Concept("dog", (), ("animal",)), Concept("fox", (), ("animal",)), Concept("cup")]
    )
    kinds = kinds_of(vocabulary, ["cup", "dog", "fox"])
    assert kinds.tolist() == [[0, 1, 1, 0]]
    dog = torch.tensor([1])
    fox = kinds_loss(torch.tensor([[0.0, 0, 9, 0]]), dog, kinds)
    cup = kinds_loss(torch.tensor([[9.0, 0, 0, 0]]), dog, kinds)
    assert fox < 0.01 < 1 < cup
    assert kinds_loss(torch.zeros(1, 4), torch.tensor([0]), kinds) == 0  # a cup has no kind here


def test_allowed_concepts_are_all_that_a_word_may_mean() -> None:
    vocabulary = Vocabulary(
        [
            Concept("plant"),
            Concept("tree", (), ("plant",)),
            Concept("leaf", related=("tree",)),
            Concept("cup"),
        ]
    )
    allowed = allowed_concepts(vocabulary, ["cup", "leaf", "tree"])
    assert allowed["plant"].tolist() == [False, False, True, False]
    assert allowed["tree"].tolist() == [False, True, True, False]
    assert allowed["cup"].tolist() == [True, False, False, False]


#: synset, its words, the synset above it; "physical_entity" is what WordNet has above all things.
SYNSETS = (
    ("01", "physical_entity", ""),
    ("02", "tool", "01"),
    ("03", "hammer", "02"),
    ("04", "maul sledge", "03"),
    ("05", "hammer gavel_sound", ""),
)
SENSES = {"hammer": "05 03"}


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    """A folder with a WordNet of five synsets."""
    folder = tmp_path / "wordnet"
    folder.mkdir()
    lines = []
    for offset, words, above in SYNSETS:
        names = words.split()
        pointers = f"001 @ {above} n 0000" if above else "000"
        listed = " ".join(f"{name} 0" for name in names)
        lines.append(f"{offset} 05 n {len(names):02x} {listed} {pointers} | a thing")
    (folder / "data.noun").write_text("\n".join(lines))
    found = {name: SENSES.get(name, offset) for offset, words, _ in SYNSETS for name in words.split()}
    rows = [f"{n} n {len(o.split())} 1 @ {len(o.split())} 1 {o}" for n, o in found.items()]
    (folder / "index.noun").write_text("\n".join(rows))
    (folder / "cntlist.rev").write_text("")
    (folder / "noun.exc").write_text("")
    return folder


def test_the_dictionary_follows_kinds_into_wordnet(wordnet: Path) -> None:
    vocabulary = Vocabulary(
        [Concept("tool"), Concept("hammer", ("mallet",), ("tool",)), Concept("saw", (), ("tool",))]
    )
    words = open_words(vocabulary, ["hammer", "saw"], wordnet)
    for phrase, expected in (
        ("mallets", [0]),
        ("tool", [0, 1]),
        ("maul", [0]),  # below the sense of "hammer" that is a tool
        ("gavel sound", []),  # of its other sense
    ):
        assert words.lookup(phrase).nonzero().flatten().tolist() == expected, phrase


@pytest.fixture
def recipe_file(tmp_path: Path, wordnet: Path) -> Path:
    """A recipe for a few scenes of drawn shapes that go by names of the real vocabulary."""
    names = {"circle": "ball", "square": "cardboard box", "cross": "bandage", "triangle": "tent"}
    with BankWriter(tmp_path / "bank") as writer:
        for sprite in drawn_bank().sprites:
            if sprite.concept in names:
                writer.add_sprite(sprite.rgba, "drawn", sprite.key, names[sprite.concept])
        for photograph in drawn_bank().photographs:
            writer.add_photograph(photograph.rgb, photograph.key, photograph.unseen, ())
            writer.add_calibration(photograph.rgb, photograph.key, ("ball",))
    given = {"bank": "bank", "wordnet": wordnet.name, "folder": "work", "files_objects": 2}
    given |= {"files_names": 2, "scenes_per_file": 8, "processes": 1, "objects_epochs": 2}
    given |= {"rounds": [{"epochs": 2, "batch": 16, "kinds": 0.5}, {"epochs": 1, "batch": 16}]}
    given |= {"scale": [1, 2, 0.5], "files_calibration": 2, "crops": 2, "solid": 0.5}
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(given))
    return path


@pytest.mark.slow
def test_a_whole_training_goes_on_where_it_stopped(recipe_file: Path) -> None:
    recipe = GrounderRecipe.read(recipe_file)
    weights = recipe_file.parent / "weights.safetensors"
    shutil.copy(SHIPPED, weights)
    train(recipe, weights)
    log = [json.loads(line) for line in (recipe.folder / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line.get("epoch", -1)) for line in log] == [
        *(("objects", 0), ("objects", 1)),
        *(("names", 0), ("names", 1), ("names", 0)),
        *(("calibration", -1), ("all", -1)),
    ]
    assert (recipe.folder / "curves.svg").exists()
    before = read_tensors(weights)
    branch = OpenBranch.from_tensors(before, NanoConfig())
    assert branch.words.concepts == 4
    shift = next(line["shift"] for line in log if line["step"] == "calibration")
    assert branch.scale == pytest.approx((1 + shift, 2 + shift, 0.5), abs=1e-5)
    assert branch.bias.std() > 0
    shipped = read_tensors(SHIPPED)
    for name in shipped.keys() - {key for key in shipped if key.startswith(PREFIX)}:
        assert torch.equal(before[name], shipped[name])
    # The last round again, from what the first one left: the same numbers.
    (recipe.folder / "names-1.safetensors").unlink()
    train(recipe, weights)
    for name, value in read_tensors(weights).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bank": ".", "wordnet": ".", "folder": ".", "epochs": 3}, "unknown keys .'epochs'"),
        ({"bank": "."}, r"must say where \['wordnet', 'folder'\] are"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(tmp_path: Path, given: dict[str, object], message: str) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(given))
    with pytest.raises(ValueError, match=message):
        GrounderRecipe.read(path)
