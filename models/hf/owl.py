"""OWL-ViT and OWLv2: a vision transformer whose patches are compared with one vector per phrase.

Minderer et al., "Simple Open-Vocabulary Object Detection with Vision Transformers" (2022) and "Scaling
Open-Vocabulary Object Detection" (2023); transformers' `modeling_owlvit.py` and `modeling_owlv2.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTokenizer, Owlv2ForObjectDetection, OwlViTForObjectDetection

from groundstream.models.common.postprocess import best_rows, corners, to_raw
from groundstream.models.common.preprocess import PixelRule
from groundstream.models.common.weights import Checkpoint
from groundstream.models.hf.grounder import (
    TransformersGrounder,
    check_texts,
    fixed_size_rule,
    in_groups,
    pad_rows,
    refuse_long,
)
from groundstream.models.hf.layers import PatchProduct, fold_quick_gelu
from groundstream.models.hf.loading import load_model
from groundstream.models.types import (
    ImageFeatures,
    Preset,
    Prompt,
    RawDetections,
    SizeRule,
    TextFeatures,
)

#: phrases that go through the text encoder at once.
TEXT_BATCH = 64


class OwlViT(TransformersGrounder):
    """OWL-ViT: late fusion, so any number of phrases costs one matrix product per picture."""

    family = "owlvit"
    text_scope = "phrase"
    template = "owl-1: the phrase itself"
    preset = Preset(score=0.1, floor=0.05, overlap_iou=0.5, cpu_batch=4)
    model_class: ClassVar[Any] = OwlViTForObjectDetection
    tokenizer_class = CLIPTokenizer
    size_kind: ClassVar[Literal["stretch", "fit"]] = "stretch"
    default_px: ClassVar[int] = 768

    @classmethod
    def read_size_rule(cls, checkpoint: Checkpoint, size_px: int | None) -> SizeRule:
        """Return the one size that the position embedding was made for."""
        return fixed_size_rule(checkpoint, size_px, cls.size_kind, cls.default_px)

    def load(self, checkpoint: Checkpoint) -> None:
        """Place the text transformer in float32, the vision transformer and the heads in `dtype`."""
        self.model = load_model(self.model_class, checkpoint).to(self.device)
        self.base = getattr(self.model, self.model.base_model_prefix)
        self.max_tokens = int(self.model.config.text_config.max_position_embeddings)
        embeddings = self.base.vision_model.embeddings
        embeddings.patch_embedding = PatchProduct(embeddings.patch_embedding)
        for layer in self.base.vision_model.encoder.layers:
            fold_quick_gelu(layer.mlp)
        for part in (self.base.vision_model, self.model.layer_norm):
            part.to(self.dtype)

    def split_prompt(self, prompt: Prompt) -> tuple[Prompt, ...]:
        """Return the prompt whole: phrases do not share a text limit; each alone must fit it."""
        lengths = [len(ids) - 2 for ids in self._token_ids(prompt.phrases)]  # without start and end
        refuse_long(prompt, lengths, self.max_tokens - 2, self.info.name)
        return (prompt,)

    def encode_text(self, prompts: Sequence[Prompt]) -> list[TextFeatures]:
        """Encode all phrases of all prompts in one batch, each on its own."""
        phrases = [phrase for prompt in prompts for phrase in prompt.phrases]
        rows = torch.cat([self._encode(group) for group in in_groups(phrases, TEXT_BATCH)]).cpu()
        parts = torch.split(rows, [len(prompt.phrases) for prompt in prompts])
        return [_features(prompt.phrases, part) for prompt, part in zip(prompts, parts, strict=True)]

    def join_text(self, parts: Sequence[TextFeatures]) -> TextFeatures:
        """Put the vectors of single phrases below each other."""
        phrases = tuple(phrase for part in parts for phrase in part.phrases)
        return _features(phrases, torch.cat([part.tokens for part in parts]))

    @torch.no_grad()
    def encode_image(self, pixels: Tensor, content_px: Tensor) -> ImageFeatures:
        """Run the vision transformer; its one level is (B, C, H/patch, W/patch)."""
        vision = self.base.vision_model
        hidden = vision(self.pixel_values(pixels, content_px)).last_hidden_state
        hidden = vision.post_layernorm(hidden)
        hidden = self.model.layer_norm(hidden[:, 1:] * hidden[:, :1])  # every patch times the class token
        rows = pixels.shape[1] // vision.embeddings.patch_size
        grid = hidden.transpose(1, 2).unflatten(2, (rows, -1))  # (B, C, H/patch, W/patch)
        return ImageFeatures((grid,), content_px, (pixels.shape[1], pixels.shape[2]))

    @torch.no_grad()
    def ground(
        self, features: ImageFeatures, texts: Sequence[TextFeatures], floor: float
    ) -> list[RawDetections]:
        """Compare every patch with every phrase; boxes are computed for the best patches only."""
        check_texts(len(features.content_px), texts)
        patches = features.levels[0].flatten(2).transpose(1, 2).float()  # (B, N, C)
        queries, _ = pad_rows([text.tokens for text in texts], self.device, torch.float32)
        scores = self._logits(patches, queries).sigmoid()
        answers = []
        for picture, text in enumerate(texts):
            own = scores[picture, :, : len(text.phrases)]
            rows = best_rows(own, floor)
            boxes = self._boxes(patches[picture, rows], rows, features.canvas_px)
            answers.append(to_raw(boxes, own[rows]))
        return answers

    def _token_ids(self, phrases: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(list(phrases), verbose=False)["input_ids"]
        return ids

    @torch.no_grad()
    def _encode(self, phrases: Sequence[str]) -> Tensor:
        """Return (P, D) float32 vectors of length one, as `OwlViTModel` and the class head make them."""
        ids = self._token_ids(phrases)
        table = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.int64, device=self.device)
        for row, tokens in enumerate(ids):
            table[row, : len(tokens)] = torch.tensor(tokens)
        # attention is causal and the vector is read at the end token: what follows it changes nothing
        pooled = self.base.text_model(input_ids=table).pooler_output
        vectors = F.normalize(self.base.text_projection(pooled), dim=-1)
        return _almost_unit(vectors)

    def _logits(self, patches: Tensor, queries: Tensor) -> Tensor:
        """Return (B, N, P) logits: cosine, shifted and scaled as each patch says."""
        head = self.model.class_head
        vectors = _almost_unit(head.dense0(patches))
        shift, scale = head.logit_shift(patches), F.elu(head.logit_scale(patches)) + 1
        logits: Tensor = (vectors @ queries.transpose(1, 2) + shift) * scale
        return logits

    def _boxes(self, patches: Tensor, rows: Tensor, canvas_px: tuple[int, int]) -> Tensor:
        """Return (K, 4) xyxy pixels of the canvas for the patches at `rows`."""
        relative: Tensor = (self.model.box_head(patches) + self.model.box_bias[rows]).sigmoid()
        height, width = canvas_px
        return corners(relative) * relative.new_tensor([width, height, width, height])


class Owlv2(OwlViT):
    """OWLv2: the same network on a square with black below or beside the picture.

    Its objectness head is not used, as in transformers' post-processing.
    """

    family = "owlv2"
    preset = Preset(score=0.2, floor=0.1, overlap_iou=0.5, cpu_batch=4)
    model_class: ClassVar[Any] = Owlv2ForObjectDetection
    size_kind = "fit"
    default_px = 960

    @classmethod
    def read_pixel_rule(cls, checkpoint: Checkpoint) -> PixelRule:
        """Return mean and deviation; transformers' processor pads black before it normalises."""
        return PixelRule.from_processor(checkpoint.processor(), zero_padding=False)


def _almost_unit(vectors: Tensor) -> Tensor:
    """Scale to length one as transformers does; the small constant is part of its numbers."""
    length: Tensor = vectors.norm(dim=-1, keepdim=True)
    return vectors / (length + 1e-6)


def _features(phrases: tuple[str, ...], rows: Tensor) -> TextFeatures:
    return TextFeatures(phrases, rows, tuple((row, row + 1) for row in range(len(phrases))))
