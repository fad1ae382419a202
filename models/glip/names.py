"""From the names in an official checkpoint to ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from groundstream.models.errors import ModelError
from groundstream.models.glip.config import GlipConfig

#: What official files hold and inference does not use: buffers that are computed anew, class logits that
#: only training saw, heads of other training objectives.
_DROPPED = re.compile(
    r"backbone\.body\.layers\.\d\.blocks\.\d+\.attn\.relative_position_index"
    r"|language_backbone\.body\.model\.embeddings\.position_ids"
    r"|language_backbone\.body\.model\.pooler\..+"
    r"|rpn\.anchor_generator\.cell_anchors\.\d"
    r"|rpn\.head\.cls_logits\..+"
    r"|rpn\.head\.mlm_head\..+"
    r"|rpn\.tunable_linear\..+"
    r"|rpn\.resizer\..+"
)
_SWIN = "vision.swin.swin."
_BLOCK = _SWIN + r"encoder.layers.\1.blocks.\2."
_OFFICIAL_BLOCK = r"backbone\.body\.layers\.(\d)\.blocks\.(\d+)\."
_RULES = tuple(
    (re.compile(pattern + r"(?=\.|$)"), replacement)
    for pattern, replacement in (
        (r"backbone\.body\.patch_embed\.proj", _SWIN + "embeddings.patch_embeddings.projection"),
        (r"backbone\.body\.patch_embed\.norm", _SWIN + "embeddings.norm"),
        (_OFFICIAL_BLOCK + "norm1", _BLOCK + "layernorm_before"),
        (_OFFICIAL_BLOCK + "norm2", _BLOCK + "layernorm_after"),
        (_OFFICIAL_BLOCK + r"attn\.proj", _BLOCK + "attention.o_proj"),
        (_OFFICIAL_BLOCK + r"attn\.qkv", _BLOCK + "attention.qkv"),
        (
            _OFFICIAL_BLOCK + r"attn\.relative_position_bias_table",
            _BLOCK + "attention.relative_position_bias.relative_position_bias_table",
        ),
        (_OFFICIAL_BLOCK + r"mlp\.(fc\d)", _BLOCK + r"mlp.\3"),
        (r"backbone\.body\.layers\.(\d)\.downsample", _SWIN + r"encoder.layers.\1.downsample"),
        (r"backbone\.body\.norm1", "vision.swin.hidden_states_norms.stage2"),
        (r"backbone\.body\.norm2", "vision.swin.hidden_states_norms.stage3"),
        (r"backbone\.body\.norm3", "vision.swin.hidden_states_norms.stage4"),
        (r"backbone\.fpn\.fpn_inner2", "vision.fpn.lateral.0"),
        (r"backbone\.fpn\.fpn_inner3", "vision.fpn.lateral.1"),
        (r"backbone\.fpn\.fpn_inner4", "vision.fpn.lateral.2"),
        (r"backbone\.fpn\.fpn_layer2", "vision.fpn.output.0"),
        (r"backbone\.fpn\.fpn_layer3", "vision.fpn.output.1"),
        (r"backbone\.fpn\.fpn_layer4", "vision.fpn.output.2"),
        (r"backbone\.fpn\.top_blocks", "vision.fpn"),
        (r"language_backbone\.body\.model", "language"),
        (r"rpn\.head\.bbox_pred", "head.box"),
        (r"rpn\.head\.centerness", "head.centerness"),
        (r"rpn\.head\.scales\.(\d)\.scale", r"head.scales.\1"),
        (r"rpn\.head\.dot_product_projection_text", "head.project_text"),
        (r"rpn\.head\.bias_lang", "head.text_bias"),
        (r"rpn\.head\.bias0", "head.token_bias"),
        (r"rpn\.head\.log_scale", "head.log_scale"),
    )
)
_TOWER = re.compile(r"rpn\.head\.dyhead_tower\.(\d+)\.(.+)")
_IMAGE_PARTS = (
    (re.compile(r"^DyConv\.0\.conv"), "from_coarser.conv"),
    (re.compile(r"^DyConv\.1\.conv"), "from_same.conv"),
    (re.compile(r"^DyConv\.2\.conv"), "from_finer.conv"),
    (re.compile(r"^DyConv\.0\.bn"), "from_coarser.norm"),
    (re.compile(r"^DyConv\.1\.bn"), "from_same.norm"),
    (re.compile(r"^DyConv\.2\.bn"), "from_finer.norm"),
    (re.compile(r"^AttnConv\.1"), "attention"),
)


def without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Strip `module.` (left by distributed training) when all names have it."""
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return dict(tensors)


def dropped_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the official `names` that inference does not use, sorted."""
    return tuple(sorted(name for name in names if _DROPPED.fullmatch(name)))


def to_ours(tensors: Mapping[str, Tensor], config: GlipConfig) -> dict[str, Tensor]:
    """Rename official tensors (prefix stripped), leave out the unused, split the joint q-k-v products.

    Raises:
        ModelError: a name is unknown; it is never skipped.
    """
    ours: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if _DROPPED.fullmatch(name):
            continue
        target = our_name(name, config.fusion)
        if ".attention.qkv." not in target:
            ours[target] = tensor
            continue
        for part, third in zip("qkv", tensor.chunk(3), strict=True):
            ours[target.replace(".qkv.", f".{part}_proj.")] = third
    return ours


def our_name(official: str, fusion: bool) -> str:
    """Return our name of one official tensor.

    Raises:
        ModelError: the name is unknown.
    """
    tower = _TOWER.fullmatch(official)
    if tower:
        return _tower_name(int(tower[1]), tower[2], fusion)
    for pattern, replacement in _RULES:
        match = pattern.match(official)
        if match:
            return match.expand(replacement) + official[match.end() :]
    raise ModelError(
        f"the checkpoint holds '{official}', which no GLIP of ours has; give an official GLIP file"
    )


def _tower_name(index: int, rest: str, fusion: bool) -> str:
    """Name a tensor of the tower's flat list: fusion, text, image in turn, or images only."""
    block, part = divmod(index, 3) if fusion else (index, 2)
    prefix = f"head.blocks.{block}."
    if part == 0:
        return prefix + "fusion." + rest.removeprefix("b_attn.")
    if part == 1:
        return prefix + "text." + rest
    for pattern, replacement in _IMAGE_PARTS:
        rest = pattern.sub(replacement, rest)
    return prefix + "image." + rest
