"""From an official checkpoint to our file and back into a grounder."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from glip_parity import DATA, MINI, official_weights
from safetensors import safe_open
from torch import Tensor

from groundstream.models.errors import ModelError
from groundstream.models.glip import convert as convert_module
from groundstream.models.glip.config import GLIP_L, GLIP_T, GLIP_T_A, PUBLISHED, GlipConfig, Published
from groundstream.models.glip.convert import convert_checkpoint, recognise
from groundstream.models.glip.grounder import GlipGrounder
from groundstream.models.glip.hub import find_model
from groundstream.models.glip.modelfile import read_model_file

CPU, FLOAT = "cpu", "float32"


def official() -> dict[str, Tensor]:
    """A whole official checkpoint in small: the recorded weights, the stages they lack as zeros."""
    tensors = official_weights(DATA / "mini_weights.safetensors")
    body = "backbone.body."
    first = {name: tensor for name, tensor in tensors.items() if ".layers.0." in name}
    for stage, factor in ((2, 4), (3, 8)):
        for name, tensor in first.items():
            if "downsample" not in name:
                shape = [n * factor if n % 2 == 0 else n for n in tensor.shape]
                tensors[name.replace("layers.0", f"layers.{stage}")] = torch.zeros(shape)
    for name in ("norm.weight", "norm.bias", "reduction.weight"):
        like = tensors[f"{body}layers.0.downsample.{name}"]
        tensors[f"{body}layers.1.downsample.{name}"] = torch.zeros([n * 2 for n in like.shape])
        tensors[f"{body}layers.2.downsample.{name}"] = torch.zeros([n * 4 for n in like.shape])
    for number, channels in ((2, 96), (3, 192)):
        tensors |= {f"{body}norm{number}.{part}": torch.zeros(channels) for part in ("weight", "bias")}
    tensors["rpn.head.cls_logits.bias"] = torch.zeros(80)
    tensors[f"{body}layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
    return {f"module.{name}": tensor for name, tensor in tensors.items()}


def write_checkpoint(folder: Path, tensors: dict[str, Tensor], name: str = "glip_mini.pth") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    torch.save({"model": tensors, "optimizer": {"state": {}}, "iteration": 3}, path)
    (folder / "vocab.txt").write_bytes((DATA / "vocab.txt").read_bytes())
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "official", official())


def test_into_a_file(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "mini.safetensors"
    report = convert_checkpoint(checkpoint, out, config=MINI)
    assert report.target == out
    assert report.dropped == (
        "backbone.body.layers.0.blocks.0.attn.relative_position_index",
        "rpn.head.cls_logits.bias",
    )
    assert [path.name for path in out.parent.iterdir()] == ["mini.safetensors"]
    (tmp_path / "plain").touch()
    assert out.stat().st_mode == (tmp_path / "plain").stat().st_mode
    model, fingerprint = read_model_file(out)
    assert fingerprint == report.fingerprint
    assert model.config == MINI
    assert model.vocabulary[:2] == ("[PAD]", "[UNK]")
    assert report.parameters == sum(tensor.numel() for tensor in model.weights.values())
    q = model.weights["vision.swin.swin.encoder.layers.0.blocks.0.attention.q_proj.weight"]
    joint = official()["module.backbone.body.layers.0.blocks.0.attn.qkv.weight"]
    assert torch.equal(q, joint[:24])


def test_into_a_folder_and_back(checkpoint: Path, tmp_path: Path) -> None:
    report = convert_checkpoint(checkpoint, tmp_path / "model", config=MINI)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "glip"
    grounder = GlipGrounder.from_name(f"{tmp_path}/model", device=CPU, dtype=FLOAT)
    assert grounder.info.name == "model"
    assert grounder.info.revision == report.fingerprint[:12]
    assert grounder.info.family == "glip"
    again = GlipGrounder.from_name(str(report.target), device=CPU, dtype=FLOAT, size_px=480)
    assert again.info.fingerprint == grounder.info.fingerprint
    assert again.size_rule.plan(480, 640).canvas_px == (480, 640)


def test_a_bare_dictionary_is_a_checkpoint_too(tmp_path: Path) -> None:
    tensors = {name.removeprefix("module."): tensor for name, tensor in official().items()}
    path = write_checkpoint(tmp_path, tensors)
    torch.save(tensors, path)
    wrapped = write_checkpoint(tmp_path / "b", official())
    fingerprints = {convert_checkpoint(p, p.parent / "out", config=MINI).fingerprint for p in (path, wrapped)}
    assert len(fingerprints) == 1


def test_pth_is_converted_once(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(convert_module, "recognise", lambda tensors: MINI)
    first = find_model(str(checkpoint))
    assert first.parent.parent == tmp_path / "cache" / "groundstream" / "glip"
    written = first.stat().st_mtime_ns
    assert find_model(str(checkpoint)) == first
    assert first.stat().st_mtime_ns == written
    checkpoint.touch()
    assert find_model(str(checkpoint)) != first


def test_published_name_uses_the_cache(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    convert_checkpoint(checkpoint, tmp_path / "cache" / "groundstream" / "glip" / "glip-t", config=MINI)
    assert GlipGrounder.from_name("glip-t", device=CPU, dtype=FLOAT).info.name == "glip-t"


def test_published_name_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def offline(*_: Any, **__: Any) -> str:
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(ModelError) as error:
        find_model("glip-l")
    assert "hf download GLIPModel/GLIP glip_large_model.pth" in str(error.value)
    assert "--model FILE.pth" in str(error.value)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "module.rpn.head.surprise.weight",
            "add",
            "holds 'rpn.head.surprise.weight', which no GLIP of ours has",
        ),
        ("module.rpn.head.dyhead_tower.2.surprise", "add", "has too much: head.blocks.0.image.surprise"),
        ("module.rpn.head.log_scale", "remove", "lacks head.log_scale"),
        ("module.rpn.head.log_scale", "reshape", "has another shape of head.log_scale"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, name: str, change: str, message: str) -> None:
    tensors = official()
    if change == "remove":
        del tensors[name]
    else:
        tensors[name] = torch.zeros(2)
    path = write_checkpoint(tmp_path, tensors)
    with pytest.raises(ModelError, match=message):
        convert_checkpoint(path, tmp_path / "out.safetensors", config=MINI)
    assert not (tmp_path / "out.safetensors").exists()


class Stranger:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code from a stranger",))


@pytest.mark.parametrize("content", ["code", "text", "nothing", "list"])
def test_files_that_are_no_checkpoint(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.pth"
    if content == "code":
        torch.save({"model": {"a": torch.zeros(1)}, "scheduler": Stranger()}, path)
    elif content == "list":
        torch.save([torch.zeros(1)], path)
    elif content == "text":
        path.write_text("<html>not found</html>")
    else:
        path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"bad.pth .*give an official GLIP|bad.pth holds no model"):
        convert_checkpoint(path, tmp_path / "out", config=MINI)
    assert "stranger" not in capsys.readouterr().out


def test_a_pickle_of_the_old_kind_is_read_safely(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    path.write_bytes(pickle.dumps({"model": Stranger()}))
    with pytest.raises(ModelError, match="cannot be read safely"):
        convert_checkpoint(path, tmp_path / "out", config=MINI)


@pytest.mark.parametrize("config", [GLIP_T_A, GLIP_T, GLIP_L])
def test_published_architectures_are_recognised(config: GlipConfig) -> None:
    step = 3 if config.fusion else 1
    names = {f"rpn.head.dyhead_tower.{index}.x" for index in range(config.blocks * step)}
    if config.fusion:
        names.add("rpn.head.dyhead_tower.0.b_attn.gamma_v")
    tensors = {name: torch.empty(0) for name in names}
    tensors["backbone.body.patch_embed.proj.weight"] = torch.empty(config.swin_dim, 3, 4, 4)
    assert recognise(tensors) == config


def test_unknown_architecture_needs_its_configuration(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="none of the published GLIP models"):
        convert_checkpoint(checkpoint, tmp_path / "out")


def test_vocabulary_of_another_size_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    checkpoint.with_name("vocab.txt").write_text("[PAD]\n[UNK]\n")
    with pytest.raises(ModelError, match="the vocabulary has 2 word pieces, but the checkpoint has 206"):
        convert_checkpoint(checkpoint, tmp_path / "out", config=MINI)


@pytest.mark.parametrize("damage", ["flip", "cut", "foreign"])
def test_damaged_files_are_noticed(checkpoint: Path, tmp_path: Path, damage: str) -> None:
    path = convert_checkpoint(checkpoint, tmp_path / "m.safetensors", config=MINI).target
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-1000] ^= 1
    elif damage == "cut":
        content = content[:-1000]
    else:
        content = bytearray((DATA / "mini_weights.safetensors").read_bytes())
    path.write_bytes(content)
    expected = {"flip": "damaged", "cut": "cannot read", "foreign": "no GLIP of ours"}[damage]
    with pytest.raises(ModelError, match=expected):
        GlipGrounder.from_name(str(path), device=CPU, dtype=FLOAT)


@pytest.mark.parametrize("kind", ["empty", "two"])
def test_folders_without_one_model(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    if kind == "two":
        for name in ("a", "b"):
            convert_checkpoint(checkpoint, folder / f"{name}.safetensors", config=MINI)
    with pytest.raises(ModelError, match=f"holds {0 if kind == 'empty' else 2} converted GLIP models"):
        find_model(str(folder))


def test_a_place_that_cannot_be_written(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot write .*; give another place"):
        convert_checkpoint(checkpoint, checkpoint / "out.safetensors", config=MINI)


def test_a_picture_too_small_is_refused() -> None:
    with pytest.raises(ModelError, match="at least 64 px, but got 20"):
        GlipGrounder.from_name("glip-t", size_px=20)


def test_name_that_is_nothing() -> None:
    with pytest.raises(ModelError, match=r"'glip-x' was not found; give .*glip-t, glip-l"):
        find_model("glip-x")


def test_weights_are_stored_as_float32(tmp_path: Path) -> None:
    tensors = {name: t.half() if t.is_floating_point() else t for name, t in official().items()}
    path = write_checkpoint(tmp_path, tensors)
    target = convert_checkpoint(path, tmp_path / "out.safetensors", config=MINI).target
    with safe_open(target, "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F32"}  # noqa: SIM118


def test_configuration_survives_json() -> None:
    assert GlipConfig.from_json(GLIP_L.to_json()) == GLIP_L
    with pytest.raises(ModelError, match="expected a JSON object with swin_dim"):
        GlipConfig.from_json('{"colour": 3}')
    assert all(isinstance(known, Published) for known in PUBLISHED.values())
