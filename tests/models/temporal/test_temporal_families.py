"""An adapter between backbone and grounding of every family: exact without memory, at work with it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from glip_parity import DATA, MINI
from hf_tiny import FAMILIES, save_checkpoint
from temporal_cases import cta, flags, seconds, trained
from torch import Tensor

from groundstream.models.base import Grounder
from groundstream.models.glip.grounder import GlipGrounder
from groundstream.models.glip.modelfile import ModelFile, read_vocabulary
from groundstream.models.glip.network import GlipNetwork
from groundstream.models.registry import load_grounder
from groundstream.models.temporal.base import Memory, TemporalAdapter
from groundstream.models.temporal.baselines import FeatureEMA
from groundstream.models.temporal.scene_cut import describe
from groundstream.models.types import ImageFeatures, Prompt, RawDetections

PROMPTS = (Prompt.of(["dog", "cat"]), Prompt.of(["person", "car"]))
YES = flags(True, True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


@cache
def load(family: str, folder: Path) -> Grounder:
    if family == "nano":
        return load_grounder("glip-nano", device="cpu", dtype="float32")
    if family == "glip":
        torch.manual_seed(1)
        network = GlipNetwork(MINI)
        torch.nn.init.normal_(network.head.text_bias, std=2)
        torch.nn.init.constant_(network.head.log_scale, -2)
        model = ModelFile(MINI, tuple(read_vocabulary(DATA / "vocab.txt")), network.state_dict())
        cpu, exact = torch.device("cpu"), torch.float32
        return GlipGrounder(model, name="mini", revision="0" * 64, device=cpu, dtype=exact)
    return load_grounder(str(save_checkpoint(family, folder / family)), device="cpu", dtype="float32")


def encode(grounder: Grounder, seed: int) -> ImageFeatures:
    """Return the features of two pictures with coarse random patches."""
    rule = grounder.size_rule
    height, width = (96, 128) if rule.kind == "short_side" else (rule.height_px, rule.width_px)
    coarse = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(seed)) * 60 + 128
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    pixels = fine.clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8)
    return grounder.encode_image(pixels, torch.tensor([[height, width]] * 2))


def adapter_for(kind: str, levels: tuple[Tensor, ...]) -> TemporalAdapter:
    if kind == "ema":
        return FeatureEMA()
    return trained(cta(tuple(level.shape[1] for level in levels)))


def answers(grounder: Grounder, features: ImageFeatures, levels: list[Tensor]) -> list[RawDetections]:
    rest = features.levels[len(levels) :]
    whole = ImageFeatures((*levels, *rest), features.content_px, features.canvas_px)
    texts = grounder.encode_text(PROMPTS)
    return grounder.ground_queries(whole, [[text] for text in texts], 0.0)


def equal(first: list[RawDetections], second: list[RawDetections]) -> bool:
    return all(
        np.array_equal(x, y) for a, b in zip(first, second, strict=True) for x, y in zip(a, b, strict=True)
    )


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["cta", "ema"])
@pytest.mark.parametrize("family", ["nano", "glip", *FAMILIES])
def test_exact_without_memory_and_at_work_with_it(family: str, kind: str, folder: Path) -> None:
    grounder = load(family, folder)
    first, second = encode(grounder, 1), encode(grounder, 2)
    used = [features.levels[: grounder.features.levels] for features in (first, second)]
    frozen = [answers(grounder, features, list(features.levels)) for features in (first, second)]
    assert all(len(raw.boxes_model) for raw in frozen[0])
    adapter = adapter_for(kind, used[0])
    dt_s = seconds(0.04, 0.04)
    out, memory = adapter.step(used[0], adapter.empty(used[0]), dt_s, YES, YES)
    assert equal(answers(grounder, first, out), frozen[0])
    out, _ = adapter.step(used[1], memory, dt_s, flags(False, False), YES)
    assert equal(answers(grounder, second, out), frozen[1])
    broken = Memory(memory.mean * torch.nan, memory.evidence * torch.nan)
    out, _ = adapter.step(used[1], broken, dt_s, flags(False, False), YES)
    assert equal(answers(grounder, second, out), frozen[1])
    out, _ = adapter.step(used[1], memory, dt_s, YES, YES)
    assert not equal(answers(grounder, second, out), frozen[1])


@pytest.mark.parametrize("family", ["nano", "glip", *FAMILIES])
def test_every_family_says_what_may_be_touched(family: str, folder: Path) -> None:
    grounder = load(family, folder)
    features = encode(grounder, 1)
    used = features.levels[: grounder.features.levels]
    assert len(used) == {"nano": 3, "glip": 5, "owlvit": 1, "owlv2": 1, "omdet-turbo": 3}.get(family, 4)
    widths = {level.shape[1] for level in used}
    assert widths == {192, 224, 256} if family == "nano" else len(widths) == 1
    assert len(grounder.features.fingerprint) == 16
    descriptors = describe(used)
    assert len(descriptors) == 2
    assert 1 - descriptors[0] @ descriptors[1] > 0.1
