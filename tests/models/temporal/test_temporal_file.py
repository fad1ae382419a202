"""Adapters on disk: what is saved is loaded, for the model that it belongs to, and for no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from temporal_cases import cta, trained

from groundstream.models.base import Grounder
from groundstream.models.errors import ModelError
from groundstream.models.fake import FakeGrounder
from groundstream.models.nano.grounder import NanoGrounder
from groundstream.models.temporal.baselines import FeatureEMA, NoAdapter
from groundstream.models.temporal.cta import CTA
from groundstream.models.temporal.file import load_adapter, save_adapter
from groundstream.models.types import FeatureInfo


class OtherGrounder(FakeGrounder):
    """A model whose backbone is another one."""

    def __init__(self) -> None:
        super().__init__()
        self.features = FeatureInfo.of("other")


def example() -> CTA:
    torch.manual_seed(0)
    adapter = trained(cta((192, 224, 256), width=32))
    assert isinstance(adapter, CTA)
    return adapter


@pytest.fixture(scope="module")
def grounder() -> Grounder:
    return NanoGrounder.from_name("glip-nano", device="cpu", dtype="bfloat16")


@pytest.fixture
def saved(grounder: Grounder, tmp_path: Path) -> Path:
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, example(), grounder)
    return path


def test_what_is_saved_is_loaded(grounder: Grounder, saved: Path) -> None:
    written = example()
    adapter = load_adapter(str(saved), grounder)
    assert isinstance(adapter, CTA)
    assert adapter.config == written.config
    for name, value in written.state_dict().items():
        torch.testing.assert_close(adapter.state_dict()[name].float(), value, atol=0.01, rtol=0.01)
    assert adapter.up[0].dtype == torch.bfloat16
    assert adapter.half_life.dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in adapter.parameters())
    assert adapter.name == load_adapter(str(saved), grounder).name
    assert adapter.name.startswith("cta-")
    assert saved.stat().st_size < 1_000_000


def test_the_fingerprint_is_that_of_the_features(grounder: Grounder) -> None:
    exact = NanoGrounder.from_name("glip-nano", device="cpu", dtype="float32", size_px=640)
    assert exact.features == grounder.features
    assert exact.features.levels == 3
    assert FeatureInfo.of("nano", "a").fingerprint != FeatureInfo.of("nano", "b").fingerprint


def test_another_models_adapter_is_refused_by_both_names(grounder: Grounder, saved: Path) -> None:
    other = OtherGrounder()
    with pytest.raises(ModelError, match="of model 'glip-nano', but model 'fake' has the features") as error:
        load_adapter(str(saved), other)
    assert grounder.features.fingerprint in str(error.value)
    assert other.features.fingerprint in str(error.value)


def test_baselines_by_name(grounder: Grounder) -> None:
    assert isinstance(load_adapter("none", grounder), NoAdapter)
    assert isinstance(load_adapter("ema", grounder), FeatureEMA)
    assert isinstance(load_adapter("none", FakeGrounder()), NoAdapter)
    with pytest.raises(ModelError, match="'fake' has no features that an adapter could work on"):
        load_adapter("ema", FakeGrounder())
    with pytest.raises(ModelError, match=r"no adapter ships for model 'fake'; .*`groundstream adapt`"):
        load_adapter("cta", OtherGrounder())
    with pytest.raises(ModelError, match="unknown adapter 'ctr'; use cta, ema, none or a file"):
        load_adapter("ctr", grounder)


def rewrite(path: Path, **about: str) -> None:
    with safe_open(path, "pt") as file:
        old = dict(file.metadata())
    save_file(load_file(path), path, old | about)


def test_damage_is_noticed(grounder: Grounder, saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-5] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ModelError, match="is damaged: checksum"):
        load_adapter(str(saved), grounder)
    saved.write_bytes(content[:1000])
    with pytest.raises(ModelError, match="cannot be read"):
        load_adapter(str(saved), grounder)


def test_a_changed_label_is_damage_too(grounder: Grounder, saved: Path) -> None:
    rewrite(saved, features=grounder.features.fingerprint[::-1])
    with pytest.raises(ModelError, match="is damaged"):
        load_adapter(str(saved), grounder)
    rewrite(saved, format="pictures/1")
    with pytest.raises(ModelError, match="is no adapter; expected a file of `groundstream adapt`"):
        load_adapter(str(saved), grounder)


def test_another_version_is_said_to_be_one(grounder: Grounder, tmp_path: Path) -> None:
    adapter = cta((192, 224, 256))
    path = tmp_path / "newer.safetensors"
    adapter.extra = torch.nn.Parameter(torch.zeros(1))
    save_adapter(path, adapter, grounder)
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["config"])["width"] == 8
    with pytest.raises(ModelError, match="does not fit this version of groundstream"):
        load_adapter(str(path), grounder)
