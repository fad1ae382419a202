"""Grounding DINO: a detection transformer in which text and picture meet from the encoder on.

Liu et al., "Grounding DINO: Marrying DINO with Grounded Pre-Training for Open-Set Object Detection" (2023);
transformers' `modeling_grounding_dino.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import BertTokenizer, GroundingDinoForObjectDetection

from groundstream.models.common.postprocess import best_rows, corners, to_raw
from groundstream.models.common.weights import Checkpoint
from groundstream.models.errors import ModelError
from groundstream.models.hf.blocks import (
    FRAME_TOKENS,
    block_features,
    block_layout,
    encode_blocks,
    join_blocks,
    phrase_ids,
    span_scores,
    text_ids,
)
from groundstream.models.hf.dino_decoder import DecoderLayer, decode, propose, refine
from groundstream.models.hf.dino_encoder import EncoderLayer, TextBatch, text_positions
from groundstream.models.hf.geometry import GeometryOf
from groundstream.models.hf.grounder import (
    TransformersGrounder,
    check_texts,
    in_groups,
    pack_phrases,
    pad_rows,
    refuse_long,
    short_side_rule,
)
from groundstream.models.hf.loading import load_model
from groundstream.models.types import ImageFeatures, Preset, Prompt, RawDetections, SizeRule, TextFeatures

#: phrases that go through the text encoder at once.
TEXT_BATCH = 64


class GroundingDino(TransformersGrounder):
    """Grounding DINO; a phrase's score is the best of its own tokens."""

    family = "grounding-dino"
    text_scope = "phrase"
    template = "blocks-1: [CLS] phrase . [SEP]"
    preset = Preset(score=0.3, floor=0.2, overlap_iou=0.7)
    model_class: ClassVar[Any] = GroundingDinoForObjectDetection
    tokenizer_class = BertTokenizer

    @classmethod
    def read_size_rule(cls, checkpoint: Checkpoint, size_px: int | None) -> SizeRule:
        """Return the checkpoint's short and long side, or `size_px` and a long side in proportion."""
        return short_side_rule(checkpoint, size_px)

    def load(self, checkpoint: Checkpoint) -> None:
        """Place what makes boxes, scores and text in float32, the rest in `dtype`."""
        model = load_model(self.model_class, checkpoint).to(self.device)
        if not (model.config.two_stage and model.config.embedding_init_target):
            raise ModelError(
                f"model '{checkpoint.name}' is not the two-stage form of {self.family}, which is expected"
            )
        self.detector, self.model = model, model.model
        deformable = [layer.deformable_layer for layer in self.model.encoder.layers]
        for part in (self.model.backbone.conv_encoder, self.model.input_proj_vision, *deformable):
            part.to(self.dtype)
        self.model.decoder.layers.to(self.dtype)
        self.encoder = [EncoderLayer(layer) for layer in self.model.encoder.layers]
        self.decoder = [DecoderLayer(layer) for layer in self.model.decoder.layers]
        self.geometry = GeometryOf(self.model, self.dtype)
        self.max_tokens = int(model.config.max_text_len)

    def split_prompt(self, prompt: Prompt) -> tuple[Prompt, ...]:
        """Cut `prompt` so that each text has at most the 256 tokens that the model reads."""
        lengths = [len(ids) for ids in phrase_ids(self.tokenizer, prompt.phrases)]
        room = self.max_tokens - FRAME_TOKENS
        refuse_long(prompt, lengths, room - 1, self.info.name)
        return pack_phrases(prompt, [length + 1 for length in lengths], room)

    def unknown_phrases(self, prompt: Prompt) -> tuple[str, ...]:
        """Return the phrases that have no token, or only unknown ones (Chinese for an English model)."""
        unknown = self.tokenizer.unk_token_id
        ids = phrase_ids(self.tokenizer, prompt.phrases)
        return tuple(name for name, row in zip(prompt.phrases, ids, strict=True) if set(row) <= {unknown})

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[Prompt]) -> list[TextFeatures]:
        """Encode every phrase alone, all in few batches, and join each prompt's."""
        phrases = [phrase for prompt in prompts for phrase in prompt.phrases]
        ids = [text_ids(self.tokenizer, row) for row in phrase_ids(self.tokenizer, phrases)]
        rows = [
            row
            for group in in_groups(ids, TEXT_BATCH)
            for row in encode_blocks(self.model.text_backbone, group, self.device)
        ]
        parts = iter([block_features(*pair) for pair in zip(phrases, map(self._project, rows), strict=True)])
        return [join_blocks([next(parts) for _ in prompt.phrases]) for prompt in prompts]

    def join_text(self, parts: Sequence[TextFeatures]) -> TextFeatures:
        """Put the blocks of single phrases behind each other."""
        return join_blocks(parts)

    @torch.no_grad()
    def encode_image(self, pixels: Tensor, content_px: Tensor) -> ImageFeatures:
        """Run backbone and projections; levels are (B, C, H/8, W/8) and coarser."""
        maps = list(
            self.model.backbone.conv_encoder.model(self.pixel_values(pixels, content_px)).feature_maps
        )
        levels: list[Tensor] = []
        for number, project in enumerate(self.model.input_proj_vision):
            source = maps[number] if number < len(maps) else (maps[-1] if number == len(maps) else levels[-1])
            levels.append(project(source))
        return ImageFeatures(tuple(levels), content_px, (pixels.shape[1], pixels.shape[2]))

    @torch.no_grad()
    def ground(
        self, features: ImageFeatures, texts: Sequence[TextFeatures], floor: float
    ) -> list[RawDetections]:
        """Run encoder and decoder for a batch in which every picture has its own text."""
        check_texts(len(features.content_px), texts)
        logits, boxes = self.forward(features, texts)
        scores = logits.sigmoid()
        return [
            self._candidates(scores[row], boxes[row], text, features.content_px[row], floor)
            for row, text in enumerate(texts)
        ]

    def forward(self, features: ImageFeatures, texts: Sequence[TextFeatures]) -> tuple[Tensor, Tensor]:
        """Return (B, Q, T) float32 token logits and (B, Q, 4) centres and sizes (0..1 of the picture)."""
        text = self._text_batch(texts)
        sizes = tuple((level.shape[2], level.shape[3]) for level in features.levels)
        geometry = self.geometry(sizes, features.canvas_px, features.content_px.tolist())
        memory = torch.cat([level.flatten(2).transpose(1, 2) for level in features.levels], 1).to(self.dtype)
        for layer in self.encoder:
            memory, text = layer(memory, text, geometry)
        boxes = propose(self.model, memory.float(), text, geometry, self.similarity)
        hidden, boxes = decode(self.model, self.decoder, boxes, memory, text, geometry)
        logits = self.similarity(self.detector.class_embed[-1], hidden, text.tokens)
        return logits, refine(self.detector.bbox_embed[-1], hidden, boxes)

    def similarity(self, head: Any, features: Tensor, tokens: Tensor) -> Tensor:
        """Return (B, Q, T) logits of (B, Q, C) features with (B, T, C) tokens."""
        return features @ tokens.transpose(1, 2)

    def _project(self, rows: Tensor) -> Tensor:
        projected: Tensor = self.model.text_projection(rows)
        return projected.cpu()

    def _text_batch(self, texts: Sequence[TextFeatures]) -> TextBatch:
        tokens, real = pad_rows([text.tokens for text in texts], self.device, torch.float32)
        sees, places = block_layout(texts, tokens.shape[1])
        positions = text_positions(places.to(self.device), tokens.shape[2])
        return TextBatch(tokens, real, sees.to(self.device), positions)

    def _candidates(
        self, scores: Tensor, boxes: Tensor, text: TextFeatures, content_px: Tensor, floor: float
    ) -> RawDetections:
        table = span_scores(scores, text.spans)
        rows = best_rows(table, floor)
        height, width = content_px.tolist()
        return to_raw(corners(boxes[rows]) * boxes.new_tensor([width, height, width, height]), table[rows])
