"""OmDet-Turbo checkpoints with timm's Swin, read without timm.

`tests/data/timm-swin.safetensors` holds weights, a picture and the maps of a small random Swin, written by
timm 1.0.31: `create_model("swin_tiny_patch4_window7_224", features_only=True, out_indices=[1, 2, 3],
img_size=112, always_partition=True, embed_dim=4, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2),
window_size=4)`.
Its maps of 14 and 7 pixels do not divide into windows of 4.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from hf_tiny import save_checkpoint
from safetensors.torch import load_file, save_file
from transformers import AutoBackbone

from groundstream.models.hf.omdet_timm import shift_before_padding, swin_config, swin_weights
from groundstream.models.registry import load_grounder
from groundstream.models.types import Prompt

GOLDEN = load_file(Path(__file__).parents[2] / "data" / "timm-swin.safetensors")
TIMM = {name.removeprefix("weights."): value for name, value in GOLDEN.items() if name.startswith("weights.")}


def test_swin_gives_timms_maps() -> None:
    backbone = AutoBackbone.from_config(swin_config(TIMM)).eval()
    report = backbone.load_state_dict(swin_weights(TIMM), strict=False)
    assert report.unexpected_keys == []
    assert {name.split(".")[0] for name in report.missing_keys} == {"swin", "hidden_states_norms"}
    assert [
        name for name in report.missing_keys if name.startswith("swin.") and "swin.layernorm" not in name
    ] == []
    shift_before_padding(backbone)
    with torch.no_grad():
        maps = backbone(GOLDEN["picture"].float() / 64 - 2).feature_maps
    for number, found in enumerate(maps):
        expected = GOLDEN[f"map.{number}"]  # (B, H, W, C), not normalised
        expected = F.layer_norm(expected, expected.shape[-1:]).permute(0, 3, 1, 2)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def to_timm(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename a saved OmDet-Turbo with transformers' Swin to what one with timm's Swin looks like."""
    ours, timm = "vision_backbone.vision_backbone.", "vision_backbone.vision_backbone._backbone."
    renamed: dict[str, torch.Tensor] = {}
    for name, value in weights.items():
        part = name.removeprefix(ours)
        if not name.startswith(ours):
            if not name.startswith("vision_backbone.layer_norms"):
                renamed[name] = value
            continue
        if part.startswith("hidden_states_norms.stage"):
            stage, kind = part.removeprefix("hidden_states_norms.stage").split(".")
            renamed[f"vision_backbone.layer_norms.{int(stage) - 2}.{kind}"] = value
            continue
        part = part.replace("embeddings.patch_embeddings.projection", "patch_embed.proj")
        part = part.replace("embeddings.norm", "patch_embed.norm").replace("encoder.layers.", "layers_")
        for saved, name_there in (
            ("layernorm_before", "norm1"),
            ("layernorm_after", "norm2"),
            ("attention.output.dense", "attn.proj"),
            ("attention.self.relative_position_bias_table", "attn.relative_position_bias_table"),
            ("intermediate.dense", "mlp.fc1"),
            ("output.dense", "mlp.fc2"),
        ):
            part = part.replace(saved, name_there)
        if "downsample" in part:
            stage = int(part[len("layers_")])
            part = f"layers_{stage + 1}{part[len('layers_') + 1 :]}"
        if "attention.self.query" in part:
            rest = [weights[name.replace("query", other)] for other in ("key", "value")]
            part, value = part.replace("attention.self.query", "attn.qkv"), torch.cat([value, *rest])
        elif "attention.self" in part or part.startswith("layernorm"):
            continue
        renamed[timm + part] = value
    return renamed


def test_checkpoint_with_timms_names_gives_the_same_boxes(tmp_path: Path) -> None:
    folder = save_checkpoint("omdet-turbo", tmp_path)
    picture = torch.randint(
        0, 256, (1, 128, 128, 3), dtype=torch.uint8
    )  # divides into windows of 4 everywhere

    def answer() -> tuple[torch.Tensor, torch.Tensor]:
        grounder = load_grounder(str(folder), device="cpu", dtype="float32")
        texts = grounder.encode_text([Prompt.of(["cat", "dog"])])
        raw = grounder.detect(picture, torch.tensor([[128, 128]]), [texts], floor=0.0)[0]
        return torch.from_numpy(raw.boxes_model), torch.from_numpy(raw.phrase_scores)

    expected = answer()
    weights = to_timm(load_file(folder / "model.safetensors"))
    assert any("attn.qkv" in name for name in weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {"backbone_config": None, "use_timm_backbone": True, "backbone": "swin_tiny_patch4_window7_224"}
    config |= {"backbone_kwargs": {"out_indices": [1, 2, 3], "img_size": 128, "always_partition": True}}
    config |= {"apply_layernorm_after_vision_backbone": True}
    (folder / "config.json").write_text(json.dumps(config))
    torch.testing.assert_close(answer(), expected, atol=1e-4, rtol=1e-4)
