"""The one interface behind which every grounder stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from groundstream.models.types import (
    FeatureInfo,
    ImageFeatures,
    ModelInfo,
    Preset,
    Prompt,
    RawDetections,
    SizeRule,
    TextFeatures,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: The text of one frame's query: one TextFeatures, or several where the prompt had to be split.
Query = Sequence[TextFeatures]


class Grounder(ABC):
    """A frozen open-vocabulary detector, split where its callers need it: text, image, grounding.

    `encode_text` runs once per prompt, `encode_image` once per frame, `ground` joins the two. A grounder
    holds weights and nothing else: no features, no prompts, no state of any stream.
    """

    info: ModelInfo
    preset: Preset
    size_rule: SizeRule
    features: FeatureInfo
    device: torch.device
    dtype: torch.dtype

    @abstractmethod
    def split_prompt(self, prompt: Prompt) -> tuple[Prompt, ...]:
        """Cut `prompt` into prompts that each fit the model's text limit; all phrases kept, in order.

        Raises:
            ValueError: a single phrase is longer than the limit.
        """

    @abstractmethod
    def encode_text(self, prompts: Sequence[Prompt]) -> list[TextFeatures]:
        """Encode each prompt (already split), in one batch; features lie on the CPU, ready for a cache."""

    @abstractmethod
    def join_text(self, parts: Sequence[TextFeatures]) -> TextFeatures:
        """Join features of single phrases to those of the prompt that lists them (`text_scope` phrase)."""

    @abstractmethod
    def encode_image(self, pixels: Tensor, content_px: Tensor) -> ImageFeatures:
        """Run the backbone.

        Args:
            pixels: (B, H, W, 3) uint8 RGB on any device, all of one canvas size.
            content_px: (B, 2) int64 height and width of the picture inside the canvas.
        """

    @abstractmethod
    def ground(
        self, features: ImageFeatures, texts: Sequence[TextFeatures], floor: float
    ) -> list[RawDetections]:
        """Find each picture's own text in it; candidates whose best phrase scores at least `floor`.

        Raises:
            ValueError: the number of texts is not the number of pictures.
        """

    def unknown_phrases(self, prompt: Prompt) -> tuple[str, ...]:
        """Return the phrases of which the tokenizer knows no part, so that no answer can be expected."""
        return ()

    def detect(
        self, pixels: Tensor, content_px: Tensor, queries: Sequence[Query], floor: float | None = None
    ) -> list[RawDetections]:
        """Find each picture's own query in it: backbone once per picture, grounding once per text.

        Args:
            pixels: (B, H, W, 3) uint8 RGB, all of one canvas size.
            content_px: (B, 2) int64 height and width of the picture inside the canvas.
            queries: per picture the text features of its prompt, in the order of the split.
            floor: lowest best-phrase score of a candidate; the preset's when None.

        Returns:
            One `RawDetections` per picture; its columns are the phrases of all texts of the query, in order.

        Raises:
            ValueError: the number of queries is not the number of pictures.
        """
        if len(queries) != len(pixels):
            raise ValueError(f"expected {len(pixels)} queries, one per picture, but got {len(queries)}")
        features = self.encode_image(pixels, content_px)
        return self.ground_queries(features, queries, self.preset.floor if floor is None else floor)

    def ground_queries(
        self, features: ImageFeatures, queries: Sequence[Query], floor: float
    ) -> list[RawDetections]:
        """Ground every text of every query, in rounds of one text per picture, and join the columns."""
        answers: list[list[RawDetections]] = [[] for _ in queries]
        for number in range(max((len(query) for query in queries), default=0)):
            rows = [row for row, query in enumerate(queries) if number < len(query)]
            part = features if len(rows) == len(queries) else features.select(rows)
            texts = [queries[row][number] for row in rows]
            for row, raw in zip(rows, self.ground(part, texts, floor), strict=True):
                answers[row].append(raw)
        return [join_columns(parts) for parts in answers]


def join_columns(parts: Sequence[RawDetections]) -> RawDetections:
    """Join answers to the parts of one prompt: candidates below each other, phrases side by side."""
    if len(parts) == 1:
        return parts[0]
    columns = sum(part.phrase_scores.shape[1] for part in parts)
    scores, start = [], 0
    for part in parts:
        width = part.phrase_scores.shape[1]
        block = np.zeros((len(part.boxes_model), columns), np.float32)
        block[:, start : start + width] = part.phrase_scores
        scores.append(block)
        start += width
    if not scores:
        return RawDetections.empty(0)
    boxes, table = np.concatenate([part.boxes_model for part in parts]), np.concatenate(scores)
    order = np.argsort(-table.max(axis=1, initial=0.0), kind="stable")
    return RawDetections(boxes[order], table[order])
