"""The decoder of Grounding DINO: the best proposals become queries, refined layer by layer.

Liu et al., "Grounding DINO" (2023), sections 3.3 and 3.4; transformers' `GroundingDinoDecoder`. Reference
points, box refinement and scores are float32 whatever the model's number format is; only the last layer's
classes and boxes are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.models.grounding_dino.modeling_grounding_dino import encode_sinusoidal_position_embedding

from groundstream.models.hf.deformable import DeformableAttention
from groundstream.models.hf.dino_encoder import TextBatch
from groundstream.models.hf.geometry import Geometry
from groundstream.models.hf.layers import feed_forward, multihead

#: (module, features (B, Q, C), tokens (B, T, C)) -> logits (B, Q, T); the two families differ in it.
Similarity = Callable[[Any, Tensor, Tensor], Tensor]
_EPS = 1e-5


class DecoderLayer:
    """One layer, on the weights of transformers' `GroundingDinoDecoderLayer`."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.attention = DeformableAttention(layer.encoder_attn)

    def __call__(
        self,
        hidden: Tensor,
        places: Tensor,
        boxes: Tensor,
        memory: Tensor,
        text: TextBatch,
        geometry: Geometry,
    ) -> Tensor:
        """Return (B, Q, C) refined queries.

        Args:
            hidden: (B, Q, C).
            places: (B, Q, C) embedding of the queries' boxes.
            boxes: (B, Q, L, 4) float32 centre and size as shares of each level, padding included.
            memory: (B, N, C) the encoder's vision features.
            text: the encoder's text.
            geometry: of the batch.
        """
        layer, placed = self.layer, hidden + places
        hidden = layer.self_attn_layer_norm(hidden + multihead(layer.self_attn, placed, placed, hidden))
        words = text.tokens.to(hidden.dtype)
        read = multihead(layer.encoder_attn_text, hidden + places, words, words, text.real[:, None, None])
        hidden = layer.encoder_attn_text_layer_norm(hidden + read)
        x, y = self.attention.points_in(hidden + places, boxes, geometry.sizes)
        found = self.attention.attend(hidden + places, memory, x, y, geometry.sizes, geometry.real)
        hidden = layer.encoder_attn_layer_norm(hidden + found)
        wide = feed_forward(layer.fc1, layer.activation_fn, layer.fc2, hidden)
        output: Tensor = layer.final_layer_norm(hidden + wide)
        return output


def propose(
    model: Any, memory: Tensor, text: TextBatch, geometry: Geometry, similarity: Similarity
) -> Tensor:
    """Return (B, Q, 4) float32 boxes (0..1, centre and size) of the pixels that fit the text best.

    Args:
        model: transformers' `GroundingDinoModel`.
        memory: (B, N, C) float32, the encoder's vision features.
        text: the encoder's text.
        geometry: of the batch.
        similarity: of features and tokens.
    """
    allowed = geometry.allowed.expand(len(memory), -1)
    queries = model.enc_output_norm(model.enc_output(memory * allowed[..., None]))
    logits = similarity(model.encoder_output_class_embed, queries, text.tokens)
    best = logits.masked_fill(~text.real[:, None], float("-inf")).amax(2)
    rows = best.topk(min(model.config.num_queries, best.shape[1]), dim=1).indices[..., None]
    chosen = queries.gather(1, rows.expand(-1, -1, queries.shape[2]))
    start = geometry.proposals.expand(len(memory), -1, -1).gather(1, rows.expand(-1, -1, 4))
    boxes: Tensor = (model.encoder_output_bbox_embed(chosen) + start).sigmoid()
    return boxes


def decode(
    model: Any, layers: list[DecoderLayer], boxes: Tensor, memory: Tensor, text: TextBatch, geometry: Geometry
) -> tuple[Tensor, Tensor]:
    """Refine the queries through all layers.

    Args:
        model: transformers' `GroundingDinoModel`.
        layers: of its decoder.
        boxes: (B, Q, 4) float32, where to begin.
        memory: (B, N, C) the encoder's vision features, in the model's number format.
        text: the encoder's text.
        geometry: of the batch.

    Returns:
        (B, Q, C) float32 normalised queries, and the (B, Q, 4) boxes that the last layer saw.
    """
    decoder = model.decoder
    hidden = (
        model.query_position_embeddings.weight[: boxes.shape[1]].to(memory.dtype).expand(len(boxes), -1, -1)
    )
    scale = torch.cat((geometry.ratios, geometry.ratios), -1)[:, None]  # (B, 1, L, 4)
    for number, layer in enumerate(layers):
        shares = boxes[:, :, None] * scale
        places = encode_sinusoidal_position_embedding(shares[:, :, 0], num_pos_feats=hidden.shape[2] // 2)
        places = decoder.reference_points_head(places).to(memory.dtype)
        hidden = layer(hidden, places, shares, memory, text, geometry)
        if number < len(layers) - 1:
            boxes = refine(decoder.bbox_embed[number], hidden.float(), boxes)
    return decoder.layer_norm(hidden.float()), boxes


def refine(head: Any, hidden: Tensor, boxes: Tensor) -> Tensor:
    """Return (B, Q, 4) boxes (0..1) moved by what `head` reads from (B, Q, C) float32 queries."""
    moved: Tensor = (head(hidden) + torch.special.logit(boxes, eps=_EPS)).sigmoid()
    return moved
