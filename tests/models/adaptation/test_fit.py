"""Training of the adapter: files of features, batches, objectives, a gain, a state that resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from groundstream.models.adaptation.batches import Batch, Batches
from groundstream.models.adaptation.features import Entry, FeatureFile
from groundstream.models.adaptation.fit import AdapterRecipe, Trainer, correct, stage_a, units_of
from groundstream.models.adaptation.losses import Frames, HeadObjective, feature_loss
from groundstream.models.adaptation.naming import sample
from groundstream.models.nano.config import COCO_NAMES
from groundstream.models.nano.sampling import sample_boxes
from groundstream.models.temporal.cta import CTA

SHAPES = [(16, 16, 24), (16, 8, 12), (16, 4, 6)]
LENGTH = 6
TINY = AdapterRecipe(width=8, steps=40, clips=2, window=3, stage="A", rate=1e-2)


def clean_levels(seed: int) -> list[Tensor]:
    """A still scene: the same features in every frame."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, *shape, generator=generator).expand(LENGTH, -1, -1, -1) for shape in SHAPES]


def noisy(levels: list[Tensor], seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [level + torch.randn(level.shape, generator=generator) for level in levels]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> FeatureFile:
    file = FeatureFile(tmp_path_factory.mktemp("features") / "scene", SHAPES, [])
    for seed in range(4):
        clean = clean_levels(seed)
        start = file.append(clean)
        rows, times_s = tuple(range(start, start + LENGTH)), tuple(0.1 * n for n in range(LENGTH))
        file.entries.append(
            Entry(f"{seed} noise", file.append(noisy(clean, seed)), times_s, rows, (True,) * LENGTH)
        )
    file.save()
    return file


def batches(features: FeatureFile, seed: int = 0, window: int = 3) -> Batches:
    return Batches([features], [1.0], 2, window, 0.0, np.random.default_rng(seed))


def test_a_feature_file_gives_back_what_it_was_given(features: FeatureFile) -> None:
    again = FeatureFile.open(features.stem)
    assert again.entries == features.entries
    clean = again.read(again.entries[1].clean)
    for found, given in zip(clean, clean_levels(1), strict=True):
        assert torch.equal(found, given.half())
    with pytest.raises(ValueError, match="render them first"):
        FeatureFile.open(features.stem.with_name("nothing"))


@pytest.mark.parametrize(("window", "sides"), [(3, (12, 12)), (0, (16, 24)), (99, (16, 24))])
def test_windows_cut_all_levels_at_the_same_place(
    features: FeatureFile, window: int, sides: tuple[int, int]
) -> None:
    batch = batches(features, window=window).draw()
    assert batch.clean[0].shape == (2, LENGTH, 16, *sides)
    whole = features.read([entry.clean[0] for entry in features.entries])
    fine, coarse = batch.clean[0][0, 0], batch.clean[2][0, 0]
    ratio = sides[0] // coarse.shape[1]
    places = [
        (clip, top, left)
        for clip in range(4)
        for top in range(4 - coarse.shape[1] + 1)
        for left in range(6 - coarse.shape[2] + 1)
        if torch.equal(
            whole[2][clip, :, top : top + coarse.shape[1], left : left + coarse.shape[2]].float(), coarse
        )
    ]
    assert len(places) == 1
    clip, top, left = places[0]
    expected = whole[0][clip, :, top * ratio : top * ratio + sides[0], left * ratio : left * ratio + sides[1]]
    assert torch.equal(fine, expected.float())


def plain(levels: int) -> list[Tensor]:
    return [torch.ones(16)] * levels


def test_weights_for_features_in_their_own_units_are_made_to_fit_the_features(features: FeatureFile) -> None:
    batch, adapter = batches(features).draw(), TINY.build((16, 16, 16))
    for parameter in adapter.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    units = units_of(features, 3)
    assert [unit.shape for unit in units] == [(16,)] * 3
    inside = correct(adapter, batch, units)
    outside = correct(adapter.measured_in(units), batch, plain(3))
    for one, other in zip(inside, outside, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_the_first_frame_and_lost_memories_stay_frozen(features: FeatureFile) -> None:
    batch = Batches([features], [1.0], 2, 0, 0.5, np.random.default_rng(1)).draw()
    assert not batch.keep[:, 0].any()
    shown = correct(TINY.build((16, 16, 16)), batch, plain(3))
    for level, given in zip(shown, batch.spoiled, strict=True):
        steps = level.view_as(given)
        assert torch.equal(steps[~batch.keep], given[~batch.keep])
        assert not torch.equal(steps[batch.keep], given[batch.keep])
    *_, untouched = correct(TINY.build((16, 16)), batch, plain(2))
    assert torch.equal(untouched.view_as(batch.spoiled[2]), batch.spoiled[2])


def test_the_feature_loss_is_zero_at_the_target_and_counts_what_has_left() -> None:
    clean = torch.zeros(2, 4, 6, 6)
    clean[0, :, 1:3, 1:3] = 1.0  # a thing that is gone in the second frame
    teacher = Frames([clean], 2)
    assert float(feature_loss(teacher, teacher)) == 0
    ghost, elsewhere = clean.clone(), clean.clone()
    ghost[1, :, 1:3, 1:3] = 1.0
    elsewhere[1, :, 4:6, 4:6] = 1.0
    assert feature_loss(Frames([ghost], 2), teacher) > 5 * feature_loss(Frames([elsewhere], 2), teacher)


def nano_maps(seed: int) -> list[Tensor]:
    """Random levels as those of glip-nano, two frames of 64 x 64 px, and the finest map at half its size."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((192, 8), (224, 4), (256, 2), (24, 8))
    return [torch.randn(2, channels, side, side, generator=generator) for channels, side in shapes]


def test_the_head_objective_asks_only_the_classes_that_are_shown() -> None:
    objective = HeadObjective.of_shipped(COCO_NAMES[2:])
    clean = nano_maps(0)
    assert objective.answers([level[:, :128] for level in clean[:3]])[0].logits.shape == (2, 64, 2)
    teacher = Frames(clean, 2)
    same = objective(teacher, teacher, teacher)
    assert list(same) == ["scores", "boxes", "regions", "things", "names"]
    assert all(float(same[name]) == pytest.approx(0, abs=1e-4) for name in same if name != "scores")
    for touched, silent in ((slice(0, 128), ("names",)), (slice(128, 256), ("scores", "boxes", "things"))):
        changed = [level.clone() for level in clean]
        for level in changed[:3]:
            level[:, touched] *= 0.5
        other = objective(Frames(changed, 2), teacher, teacher)
        for name, value in other.items():
            if name in silent or (name == "regions" and "scores" in silent):
                assert float(value) == pytest.approx(float(same[name]), abs=1e-4)
            else:
                assert value > same[name]


def test_boxes_of_many_pictures_are_described_as_those_of_one() -> None:
    generator = torch.Generator().manual_seed(0)
    level = torch.randn(2, 7, 16, 26, generator=generator)
    boxes = torch.tensor([[[3.0, 5, 60, 90], [0, 0, 208, 128]], [[100, 20, 101, 22], [0, 64, 208, 128]]])
    described = sample(level, boxes, 5, (128, 208))
    for row in range(2):
        expected = sample_boxes(level[row : row + 1], boxes[row], 5, (128, 208))
        torch.testing.assert_close(described[row], expected, atol=1e-5, rtol=1e-5)


def test_names_count_where_something_has_left() -> None:
    """Boxes of the frame before are asked too: what the corrected maps still show there is a ghost."""
    naming = HeadObjective.of_shipped(())._naming
    things = [torch.zeros(2, side**2, 5) for side in (8, 4, 2)]
    for level in things:
        level[..., 0] = -9.0
    things[1][0, 5, 0] = 9.0  # only the first frame has a thing
    there, gone = (
        [level[row : row + 1].expand(2, -1, -1, -1) for level in [nano_maps(1)[3], *reduced(nano_maps(1))]]
        for row in (0, 1)
    )
    teacher = [torch.cat((first[:1], second[:1])) for first, second in zip(there, gone, strict=True)]
    torch.manual_seed(0)
    ghost = naming(there, teacher, teacher, things, 2)
    torch.manual_seed(0)
    assert float(naming(teacher, teacher, teacher, things, 2)) == pytest.approx(0, abs=1e-5)
    assert ghost > 0.1


def reduced(maps: list[Tensor]) -> list[Tensor]:
    return [level[:, 128:] for level in maps[:3]]


def trained(features: FeatureFile, recipe: AdapterRecipe, folder: Path, stop: int = 0) -> CTA:
    """Train; with `stop`, be cut off there."""

    def on_step(step: int, loss: float) -> None:
        if step == stop:
            raise KeyboardInterrupt

    torch.manual_seed(0)
    trainer = Trainer(recipe.build((16, 16, 16)), stage_a(plain(3)), recipe, folder, units_of(features, 3))
    return trainer.run(batches(features).draw, on_step)


@pytest.mark.parametrize("steps", [1, 20, 21])
def test_a_training_may_be_short(features: FeatureFile, tmp_path: Path, steps: int) -> None:
    assert trained(features, replace(TINY, steps=steps), tmp_path).config.width == TINY.width


def test_training_learns_to_average_noise_away(features: FeatureFile, tmp_path: Path) -> None:
    adapter = trained(features, TINY, tmp_path)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + TINY.steps // 20
    batch: Batch = batches(features, seed=9).draw()
    with torch.no_grad():
        teacher = Frames([level.flatten(0, 1) for level in batch.clean], LENGTH)
        frozen = feature_loss(Frames([level.flatten(0, 1) for level in batch.spoiled], LENGTH), teacher)
        corrected = feature_loss(Frames(correct(adapter, batch, plain(3)), LENGTH), teacher)
    assert corrected < 0.9 * frozen


def test_a_training_that_was_cut_off_goes_on(
    features: FeatureFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundstream.models.adaptation.fit.SAVE_EVERY", 2)
    recipe = replace(TINY, steps=6)
    with pytest.raises(KeyboardInterrupt):
        trained(features, recipe, tmp_path, stop=5)
    torch.manual_seed(0)
    trainer = Trainer(recipe.build((16, 16, 16)), stage_a(plain(3)), recipe, tmp_path, plain(3))
    assert trainer.step == 4
    trainer.run(batches(features).draw, lambda step, loss: None)
    assert trainer.step == 6
