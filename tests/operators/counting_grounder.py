"""A grounder that counts what it encodes, and how features are compared."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from groundstream.models.fake import FakeGrounder
from groundstream.models.types import ModelInfo, Prompt, TextFeatures

PROMPT = Prompt.of(["red car", "white van", "狗", "🐕"])


class CountingGrounder(FakeGrounder):
    """The fake grounder, which remembers what it was asked to encode; split after `limit` phrases."""

    def __init__(self, scope: str = "phrase", fingerprint: str = "model-a", limit: int = 1000) -> None:
        super().__init__()
        self.info = ModelInfo("counting", "fake", "0", fingerprint, scope)  # type: ignore[arg-type]
        self.limit = limit
        self.calls: list[list[tuple[str, ...]]] = []

    def split_prompt(self, prompt: Prompt) -> tuple[Prompt, ...]:
        starts = range(0, len(prompt.phrases), self.limit)
        return tuple(Prompt(prompt.phrases[start : start + self.limit]) for start in starts)

    def encode_text(self, prompts: Sequence[Prompt]) -> list[TextFeatures]:
        self.calls.append([prompt.phrases for prompt in prompts])
        return super().encode_text(prompts)

    @property
    def encoded(self) -> int:
        """How many phrases were encoded."""
        return sum(len(phrases) for call in self.calls for phrases in call)


def features(
    *phrases: str, dtype: torch.dtype = torch.float32, rows: int = 3, pooled: bool = False
) -> TextFeatures:
    tokens = torch.randn(rows, 4, generator=torch.Generator().manual_seed(1)).to(dtype)
    spans = tuple((min(number, rows), rows) for number in range(len(phrases)))
    return TextFeatures(phrases, tokens, spans, torch.ones(len(phrases), 2, dtype=dtype) if pooled else None)


def assert_same(one: TextFeatures, other: TextFeatures) -> None:
    assert (one.phrases, one.spans) == (other.phrases, other.spans)
    assert one.tokens.dtype == other.tokens.dtype
    assert torch.equal(one.tokens, other.tokens)
    assert (one.pooled is None) == (other.pooled is None)
    if one.pooled is not None and other.pooled is not None:
        assert torch.equal(one.pooled, other.pooled)
