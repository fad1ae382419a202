"""OmDet-Turbo: a real-time detection transformer whose queries carry a task sentence along.

Zhao et al., "Real-time Transformer-based Open-Vocabulary Detection with Efficient Fusion Head" (2024);
transformers' `modeling_omdet_turbo.py`. Text meets the picture in the decoder only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTokenizer, OmDetTurboForObjectDetection

from groundstream.models.common.postprocess import best_rows, corners, suppress_per_phrase, to_raw
from groundstream.models.common.weights import Checkpoint
from groundstream.models.hf.deformable import DeformableAttention, Sizes
from groundstream.models.hf.geometry import box_proposals
from groundstream.models.hf.grounder import (
    TransformersGrounder,
    check_texts,
    fixed_size_rule,
    in_groups,
    pack_phrases,
    pad_rows,
    refuse_long,
)
from groundstream.models.hf.layers import feed_forward, multihead
from groundstream.models.hf.loading import load_model
from groundstream.models.hf.omdet_timm import convert, read_timm_weights, shift_before_padding
from groundstream.models.types import ImageFeatures, Preset, Prompt, RawDetections, SizeRule, TextFeatures

#: phrases that go through the text encoder at once.
TEXT_BATCH = 64
#: of two boxes of one phrase that overlap more, the weaker is dropped (the default of the model's processor).
OVERLAP_IOU = 0.5
#: the task sentence, as the processor of transformers makes it.
TASK = "Detect {}."
SEPARATOR = ", "
#: of the cosine between features and phrases.
TEMPERATURE = 0.07


class OmDetTurbo(TransformersGrounder):
    """OmDet-Turbo; the task sentence lists all phrases, so text features belong to the prompt."""

    family = "omdet-turbo"
    model_class = OmDetTurboForObjectDetection
    tokenizer_class = CLIPTokenizer
    text_scope = "prompt"
    template = "omdet-1: Detect phrase, phrase."
    preset = Preset(score=0.3, floor=0.2, overlap_iou=OVERLAP_IOU)

    @classmethod
    def read_size_rule(cls, checkpoint: Checkpoint, size_px: int | None) -> SizeRule:
        """Return the square that pictures are stretched to."""
        return fixed_size_rule(checkpoint, size_px, "stretch", 640)

    def load(self, checkpoint: Checkpoint) -> None:
        """Place what makes boxes, scores and text in float32, the rest in `dtype`."""
        timm = read_timm_weights(checkpoint)
        config, weights = convert(checkpoint, timm) if timm is not None else (None, None)
        self.model = load_model(self.model_class, checkpoint, config, weights).to(self.device)
        if timm is not None:
            shift_before_padding(self.model.vision_backbone)
        self.max_tokens = int(self.model.config.text_config.max_position_embeddings)
        decoder = self.model.decoder
        for part in (
            self.model.vision_backbone,
            self.model.encoder,
            decoder.channel_projection_layers,
            decoder.layers,
        ):
            part.to(self.dtype)
        self.cross_attention = [DeformableAttention(layer.cross_attn) for layer in decoder.layers]

    def split_prompt(self, prompt: Prompt) -> tuple[Prompt, ...]:
        """Cut `prompt` so that each task sentence fits the 77 tokens that the text encoder reads."""
        frame = len(self._ids([TASK.format("")])[0])
        lengths = [len(ids) - 2 for ids in self._ids(prompt.phrases)]  # without start and end
        room = self.max_tokens - frame
        refuse_long(prompt, lengths, room - 1, self.info.name)
        return pack_phrases(prompt, [length + 1 for length in lengths], room)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[Prompt]) -> list[TextFeatures]:
        """Encode all phrases and all task sentences, in few batches."""
        phrases = [phrase for prompt in prompts for phrase in prompt.phrases]
        tasks = [TASK.format(SEPARATOR.join(prompt.phrases)) for prompt in prompts]
        pooled = torch.cat([self._classes(group) for group in in_groups(phrases, TEXT_BATCH)])
        sentences = [row for group in in_groups(tasks, TEXT_BATCH) for row in self._tasks(group)]
        parts = torch.split(pooled.cpu(), [len(prompt.phrases) for prompt in prompts])
        return [
            TextFeatures(prompt.phrases, rows, self._spans(prompt.phrases), part)
            for prompt, rows, part in zip(prompts, sentences, parts, strict=True)
        ]

    def join_text(self, parts: Sequence[TextFeatures]) -> TextFeatures:
        """Refuse: the task sentence of several phrases is not made of theirs.

        Raises:
            ValueError: there is more than one part.
        """
        if len(parts) != 1:
            raise ValueError(
                f"text features of '{self.family}' belong to whole prompts; encode the prompt instead"
            )
        return parts[0]

    @torch.no_grad()
    def encode_image(self, pixels: Tensor, content_px: Tensor) -> ImageFeatures:
        """Run backbone and hybrid encoder; levels are (B, C, H/8, W/8) and coarser."""
        maps = self.model.vision_backbone(self.pixel_values(pixels, content_px))
        levels = self.model.encoder(maps, return_dict=True).extracted_states
        return ImageFeatures(tuple(levels), content_px, (pixels.shape[1], pixels.shape[2]))

    @torch.no_grad()
    def ground(
        self, features: ImageFeatures, texts: Sequence[TextFeatures], floor: float
    ) -> list[RawDetections]:
        """Run the decoder for a batch in which every picture has its own text."""
        check_texts(len(features.content_px), texts)
        logits, boxes = self.forward(features, texts)
        height, width = features.canvas_px
        boxes = corners(boxes) * boxes.new_tensor([width, height, width, height])
        return [
            _candidates(logits[row, :, : len(text.phrases)].sigmoid(), boxes[row], features.canvas_px, floor)
            for row, text in enumerate(texts)
        ]

    def forward(self, features: ImageFeatures, texts: Sequence[TextFeatures]) -> tuple[Tensor, Tensor]:
        """Return (B, Q, P) float32 logits and (B, Q, 4) boxes (0..1, centre and size)."""
        decoder = self.model.decoder
        projected = zip(decoder.channel_projection_layers, features.levels, strict=True)
        maps = [project(level.to(self.dtype)) for project, level in projected]
        sizes: Sizes = tuple((level.shape[2], level.shape[3]) for level in maps)
        memory = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], 1)
        classes = pad_rows([_pooled(text) for text in texts], self.device, torch.float32)
        tasks, real = pad_rows([text.tokens for text in texts], self.device, torch.float32)
        hidden, boxes = self._propose(memory.float(), classes, sizes)
        tasks = decoder.task_encoder(tasks)
        tasks = (decoder.task_project(tasks) if hasattr(decoder, "task_project") else tasks).to(self.dtype)
        return self._decode(hidden.to(self.dtype), boxes, memory, classes, (tasks, real), sizes)

    def _propose(self, memory: Tensor, classes: tuple[Tensor, Tensor], sizes: Sizes) -> tuple[Tensor, Tensor]:
        """Return the (B, Q, C) features and (B, Q, 4) boxes of the pixels that fit the phrases best."""
        decoder = self.model.decoder
        anchors, allowed = _anchors(sizes, memory.device)
        queries = decoder.encoder_vision_features(memory * allowed[..., None])
        best = self._similarity(decoder.encoder_class_head, queries, classes).amax(2)
        rows = best.topk(min(decoder.num_queries, best.shape[1]), dim=1).indices[..., None]
        chosen = queries.gather(1, rows.expand(-1, -1, queries.shape[2]))
        start = anchors.expand(len(memory), -1, -1).gather(1, rows.expand(-1, -1, 4))
        boxes = (decoder.encoder_bbox_head(chosen) + start).sigmoid()
        if decoder.learn_initial_query:
            chosen = decoder.tgt_embed.weight[: chosen.shape[1]].expand(len(memory), -1, -1)
        return chosen, boxes

    def _decode(
        self,
        hidden: Tensor,
        boxes: Tensor,
        memory: Tensor,
        classes: tuple[Tensor, Tensor],
        task: tuple[Tensor, Tensor],
        sizes: Sizes,
    ) -> tuple[Tensor, Tensor]:
        """Refine queries and task sentence together; return the last layer's logits and boxes."""
        decoder, (words, real) = self.model.decoder, task
        seen = torch.cat((real.new_ones(hidden.shape[:2]), real), 1)[:, None, None]
        for number, layer in enumerate(decoder.layers):
            places = decoder.query_position_head(boxes).to(self.dtype)
            both = torch.cat((hidden, words), 1)
            placed = torch.cat((hidden + places, words), 1)
            both = layer.norm1(both + multihead(layer.self_attn, placed, placed, both, seen))
            hidden, words = both[:, : hidden.shape[1]], both[:, hidden.shape[1] :]
            look, queries = self.cross_attention[number], hidden + places
            x, y = look.points_in(queries, boxes[:, :, None], sizes)
            found = look.attend(queries, memory, x, y, sizes, None)
            hidden = layer.norm2(hidden + found)
            hidden = layer.norm3(hidden + feed_forward(layer.linear1, layer.act, layer.linear2, hidden))
            moved = decoder.decoder_bbox_head[number](hidden.float())
            boxes = (moved + torch.special.logit(boxes, eps=1e-5)).sigmoid()
        return self._similarity(decoder.decoder_class_head[-1], hidden.float(), classes), boxes

    def _similarity(self, head: Any, features: Tensor, classes: tuple[Tensor, Tensor]) -> Tensor:
        """Return (B, N, P) logits of (B, N, C) features with phrases; minus infinity on padding."""
        vectors, real = classes
        projected: Tensor = head(vectors)
        if self.model.decoder.class_distance_type == "cosine":
            features, projected = F.normalize(features, dim=-1) / TEMPERATURE, F.normalize(projected, dim=-1)
        return (features @ projected.transpose(1, 2)).masked_fill(~real[:, None], float("-inf"))

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(list(texts), verbose=False)["input_ids"]
        return ids

    def _run_text(self, texts: Sequence[str]) -> tuple[Tensor, list[list[int]]]:
        """Return (B, T, D) float32 features and the ids; attention is causal, so padding changes nothing."""
        ids = self._ids(texts)
        table = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.int64)
        for row, tokens in enumerate(ids):
            table[row, : len(tokens)] = torch.tensor(tokens)
        hidden: Tensor = self.model.language_backbone.model(table.to(self.device)).last_hidden_state
        return hidden, ids

    def _classes(self, phrases: Sequence[str]) -> Tensor:
        """Return (P, E): the features of each phrase's end token, projected."""
        hidden, ids = self._run_text(phrases)
        ends = torch.tensor([len(row) - 1 for row in ids], device=self.device)
        pooled = hidden[torch.arange(len(ids), device=self.device), ends]
        projected: Tensor = pooled @ self.model.language_backbone.text_projection
        return projected

    def _tasks(self, sentences: Sequence[str]) -> list[Tensor]:
        hidden, ids = self._run_text(sentences)
        return [hidden[row, : len(tokens)].cpu() for row, tokens in enumerate(ids)]

    def _spans(self, phrases: Sequence[str]) -> tuple[tuple[int, int], ...]:
        """Return where each phrase stands among the tokens of the task sentence."""
        sentence = TASK.format(SEPARATOR.join(phrases))
        offsets = self.tokenizer(sentence, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        spans, start = [], TASK.index("{")
        for phrase in phrases:
            inside = [
                row for row, (low, high) in enumerate(offsets) if start <= low < high <= start + len(phrase)
            ]
            spans.append((inside[0], inside[-1] + 1) if inside else (0, 0))
            start += len(phrase) + len(SEPARATOR)
        return tuple(spans)


def _pooled(text: TextFeatures) -> Tensor:
    if text.pooled is None:
        raise ValueError(
            "expected text features with one pooled vector per phrase, but got none; encode them anew"
        )
    return text.pooled


def _candidates(scores: Tensor, boxes: Tensor, canvas_px: tuple[int, int], floor: float) -> RawDetections:
    """Suppress per phrase among all boxes that reach the floor, then keep the best."""
    rows = best_rows(scores, floor, limit=len(scores))
    kept = suppress_per_phrase(boxes[rows], scores[rows], OVERLAP_IOU, floor)
    best = best_rows(kept, max(floor, torch.finfo(torch.float32).tiny))
    limit = boxes.new_tensor([canvas_px[1], canvas_px[0], canvas_px[1], canvas_px[0]])
    return to_raw(boxes[rows][best].clamp(min=0).minimum(limit), kept[best])


@lru_cache(maxsize=8)
def _anchors(sizes: Sizes, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (1, N, 4) logits of a box at every pixel and (1, N) where it is allowed."""
    masks = [torch.ones(1, height, width, dtype=torch.bool, device=device) for height, width in sizes]
    return box_proposals(masks)
