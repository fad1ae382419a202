"""Read OmDet-Turbo checkpoints whose Swin is timm's (as the published one's) into transformers' own Swin.

Names, the packing of queries, keys and values, and the place of the last normalisation differ; and where
a map does not divide into windows, timm shifts before it pads, transformers after. With that order kept,
neither timm nor torchvision is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import OmDetTurboConfig, SwinConfig
from transformers.models.swin import modeling_swin

from groundstream.models.common.weights import Checkpoint
from groundstream.models.errors import ModelError

_TIMM = "vision_backbone.vision_backbone._backbone."
_OURS = "vision_backbone.vision_backbone."
_NORMS = "vision_backbone.layer_norms."
_BACKBONE_SETTINGS = ("backbone", "backbone_config", "backbone_kwargs", "use_timm_backbone", "timm_kwargs")
_BLOCK = re.compile(r"layers_(\d+)\.blocks\.(\d+)\.(.+)\.(weight|bias|relative_position_bias_table)")
_DOWNSAMPLE = re.compile(r"layers_(\d+)\.(downsample\..+)")
_PARTS = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


_swin: Any = modeling_swin  # its functions have no types


class TimmSwinLayer(modeling_swin.SwinLayer):  # type: ignore[no-untyped-call]
    """A layer of transformers' Swin that shifts before it pads, as timm's does."""

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        input_dimensions: tuple[int, int],
        always_partition: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """Return (B, H * W, C) features, in the form that transformers' `SwinStage` expects."""
        height, width = input_dimensions
        grid = self.layernorm_before(hidden_states).unflatten(1, (height, width))
        grid, _ = self.maybe_pad(self.cyclic_shift(grid), height, width)
        high, wide = grid.shape[1:3]
        mask = self.get_attn_mask(high, wide, dtype=grid.dtype, device=grid.device)
        windows = _swin.window_partition(grid, self.window_size).flatten(1, 2)
        found, _ = self.attention(windows, mask, **kwargs)
        found = found.unflatten(1, (self.window_size, self.window_size))
        grid = _swin.window_reverse(found, self.window_size, high, wide)[:, :height, :width]
        hidden_states = hidden_states + self.cyclic_shift(grid, reverse=True).flatten(1, 2)
        return hidden_states + self.mlp(self.layernorm_after(hidden_states)), None


def shift_before_padding(model: Any) -> None:
    """Let every layer of the Swins in `model` work as timm's."""
    for module in model.modules():
        if type(module) is modeling_swin.SwinLayer:
            module.__class__ = TimmSwinLayer


def read_timm_weights(checkpoint: Checkpoint) -> dict[str, Tensor] | None:
    """Return all weights when the backbone among them is timm's, else None.

    Raises:
        ModelError: the files cannot be read.
    """
    weights: dict[str, Tensor] = {}
    for path in checkpoint.weights:
        try:
            weights |= (
                load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
            )
        except Exception as error:  # safetensors, pickle and zip each raise their own
            raise ModelError(f"weights {path} cannot be read: {error}; fetch them again") from error
    return weights if any(name.startswith(_TIMM) for name in weights) else None


def convert(checkpoint: Checkpoint, weights: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    """Return the config and the weights of the same model with transformers' Swin."""
    # read by hand: given the backbone's name, the config class would ask the hub about it
    settings = {name: value for name, value in checkpoint.config.items() if name not in _BACKBONE_SETTINGS}
    backbone = {name.removeprefix(_TIMM): value for name, value in weights.items() if name.startswith(_TIMM)}
    config = OmDetTurboConfig(**settings, backbone_config=swin_config(backbone))
    config.apply_layernorm_after_vision_backbone = False  # SwinBackbone normalises its own maps
    converted = {name: value for name, value in weights.items() if not name.startswith(_TIMM)}
    for name, value in swin_weights(backbone).items():
        converted[_OURS + name] = value
    for name in [name for name in weights if name.startswith(_NORMS)]:
        level, kind = name.removeprefix(_NORMS).split(".")
        converted[f"{_OURS}hidden_states_norms.stage{int(level) + 2}.{kind}"] = weights[name]
    return config, converted


def swin_config(weights: Mapping[str, Tensor]) -> Any:
    """Read a Swin's sizes from the shapes of timm's weights."""
    stages = sorted({int(match[1]) for match in map(_BLOCK.match, weights) if match})
    tables = [weights[f"layers_{stage}.blocks.0.attn.relative_position_bias_table"] for stage in stages]
    depths = [
        len({match[2] for match in map(_BLOCK.match, weights) if match and int(match[1]) == stage})
        for stage in stages
    ]
    projection = weights["patch_embed.proj.weight"]
    build: Any = SwinConfig  # which takes more than its signature says
    return build(
        patch_size=projection.shape[2],
        embed_dim=projection.shape[0],
        depths=depths,
        num_heads=[table.shape[1] for table in tables],
        window_size=(round(tables[0].shape[0] ** 0.5) + 1) // 2,
        out_indices=[2, 3, 4],
        drop_path_rate=0.0,
    )


def swin_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename timm's weights to those of transformers' `SwinBackbone`; split its queries, keys and values."""
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        block, downsample = _BLOCK.match(name), _DOWNSAMPLE.match(name)
        if name.startswith("patch_embed."):
            part = name.removeprefix("patch_embed.").replace("proj", "patch_embeddings.projection")
            renamed[f"swin.embeddings.{part}"] = value
        elif downsample:  # timm has it before a stage, transformers after the one before
            renamed[f"swin.encoder.layers.{int(downsample[1]) - 1}.{downsample[2]}"] = value
        elif block:
            renamed |= _block(f"swin.encoder.layers.{block[1]}.blocks.{block[2]}.", block[3], block[4], value)
    return renamed


def _block(prefix: str, part: str, kind: str, value: Tensor) -> dict[str, Tensor]:
    if kind == "relative_position_bias_table":
        return {f"{prefix}attention.relative_position_bias.{kind}": value}
    if part == "attn.qkv":
        names = ("q_proj", "k_proj", "v_proj")
        thirds = value.chunk(3)
        return {
            f"{prefix}attention.{name}.{kind}": third.clone()
            for name, third in zip(names, thirds, strict=True)
        }
    return {f"{prefix}{_PARTS[part]}.{kind}": value}
