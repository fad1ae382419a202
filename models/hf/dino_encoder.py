"""The encoder of Grounding DINO: text and picture attend to each other, then deformable attention.

Liu et al., "Grounding DINO" (2023), section 3.2; transformers' `GroundingDinoEncoderLayer`. The vision
stream has the model's number format; text and attention between the two are float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.models.grounding_dino.modeling_grounding_dino import encode_sinusoidal_position_embedding

from groundstream.models.hf.deformable import DeformableAttention
from groundstream.models.hf.geometry import Geometry
from groundstream.models.hf.layers import feed_forward


class TextBatch(NamedTuple):
    """The texts of a batch of pictures, padded to one length.

    `tokens` (B, T, C) float32; `real` (B, T) bool, False on padding; `sees` (B, T, T) bool, which token
    sees which; `positions` (B, T, C) float32, sine of each token's place in its block.
    """

    tokens: Tensor
    real: Tensor
    sees: Tensor
    positions: Tensor


def text_positions(places: Tensor, channels: int) -> Tensor:
    """Return (B, T, C) float32 sine embedding of (B, T) places."""
    embedded: Tensor = encode_sinusoidal_position_embedding(places[..., None].float(), num_pos_feats=channels)
    return embedded


class EncoderLayer:
    """One layer, on the weights of transformers' `GroundingDinoEncoderLayer`."""

    def __init__(self, layer: Any) -> None:
        self.fusion, self.enhancer = layer.fusion_layer, layer.text_enhancer_layer
        self.deformable = layer.deformable_layer
        self.attention = DeformableAttention(layer.deformable_layer.self_attn)

    def __call__(self, vision: Tensor, text: TextBatch, geometry: Geometry) -> tuple[Tensor, TextBatch]:
        """Return (B, N, C) vision features and the text with new tokens."""
        fused, tokens = fuse(self.fusion, vision.float(), text.tokens, geometry.real, text.real)
        tokens, _ = self.enhancer(tokens, text.sees, text.positions)
        return self._spread(fused.to(vision.dtype), geometry), text._replace(tokens=tokens)

    def _spread(self, vision: Tensor, geometry: Geometry) -> Tensor:
        part = self.deformable
        queries = vision + geometry.positions
        x, y = self.attention.offsets(queries)
        x, y = x + geometry.x, y + geometry.y
        found = self.attention.attend(queries, vision, x, y, geometry.sizes, geometry.real)
        vision = part.self_attn_layer_norm(vision + found)
        output: Tensor = part.final_layer_norm(
            vision + feed_forward(part.fc1, part.activation_fn, part.fc2, vision)
        )
        return output


def fuse(
    layer: Any, vision: Tensor, text: Tensor, real_pixels: Tensor | None, real_tokens: Tensor
) -> tuple[Tensor, Tensor]:
    """Let picture and text attend to each other, with one score table for both directions.

    A text has few tokens, a pyramid many pixels: so the projections of the picture are folded into the
    text's side (q . k = v . (Wq' k), and sum a (Wv v) = Wv (sum a v)), which leaves no product of pixels
    with a full weight matrix. Each softmax subtracts the maximum of its own row, never one over the batch.

    Args:
        layer: transformers' `GroundingDinoFusionLayer`.
        vision: (B, N, C) float32.
        text: (B, T, C) float32.
        real_pixels: (B, N) bool, False on padding; None where there is none.
        real_tokens: (B, T) bool, False on padding.

    Returns:
        (B, N, C) and (B, T, C) float32.
    """
    attn = layer.attn
    vision, text = layer.layer_norm_vision(vision), layer.layer_norm_text(text)
    scores = _scores(attn, vision, text)  # (B, heads, T, N)
    to_vision = scores.masked_fill(~real_tokens[:, None, :, None], float("-inf")).softmax(2).flatten(1, 2)
    if real_pixels is not None:
        scores = scores.masked_fill(~real_pixels[:, None, None, :], float("-inf"))
    to_text = scores.softmax(3)
    values = attn.values_text_proj(text).unflatten(2, (attn.num_heads, -1))
    out_weight = (layer.vision_param[:, None] * attn.out_vision_proj.weight).unflatten(
        1, (attn.num_heads, -1)
    )
    mixed = torch.einsum("bthd,chd->bhtc", values, out_weight).flatten(1, 2)  # (B, heads * T, C)
    bias = layer.vision_param * attn.out_vision_proj.bias
    seen = torch.einsum("bhtn,bnc->bhtc", to_text, vision)
    weight = attn.values_vision_proj.weight.unflatten(0, (attn.num_heads, -1))
    heads = torch.einsum("bhtc,hdc->bthd", seen, weight).flatten(2) + attn.values_vision_proj.bias
    return (
        (vision + bias).baddbmm_(to_vision.transpose(1, 2), mixed),
        text + layer.text_param * attn.out_text_proj(heads),
    )


def _scores(attn: Any, vision: Tensor, text: Tensor) -> Tensor:
    """Return (B, heads, T, N) float32 scores of every token with every pixel."""
    keys = attn.text_proj(text).unflatten(2, (attn.num_heads, -1)) * attn.scale  # (B, T, heads, d)
    weight = attn.vision_proj.weight.unflatten(0, (attn.num_heads, -1))
    folded = torch.einsum("bthd,hdc->bhtc", keys, weight)
    bias = torch.einsum("bthd,hd->bht", keys, attn.vision_proj.bias.unflatten(0, (attn.num_heads, -1)))
    flat = torch.baddbmm(bias.flatten(1)[..., None], folded.flatten(1, 2), vision.transpose(1, 2))
    return flat.view(len(flat), attn.num_heads, -1, flat.shape[2])
