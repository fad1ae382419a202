"""Text of the Grounding DINO family: "[CLS] phrase . phrase . [SEP]", one block per phrase.

Tokens see only their own block and positions restart in each, so a phrase's features do not depend on its
neighbours: phrases are encoded alone as "[CLS] phrase . [SEP]" and joined. Blocks follow the phrases that
the user gave, not the ids of '.' and '?', so that either may stand inside a phrase.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from groundstream.models.types import TextFeatures

#: tokens that every text has beside its blocks: [CLS] and [SEP].
FRAME_TOKENS = 2


def phrase_ids(tokenizer: Any, phrases: Sequence[str]) -> list[list[int]]:
    """Return each phrase's own token ids, lower case, without the full stop that closes it."""
    texts = [phrase.lower().rstrip(". ") for phrase in phrases]
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def text_ids(tokenizer: Any, phrase: Sequence[int]) -> list[int]:
    """Return the ids of "[CLS] phrase . [SEP]"."""
    stop = tokenizer.convert_tokens_to_ids(".")
    return [tokenizer.cls_token_id, *phrase, stop, tokenizer.sep_token_id]


def encode_blocks(backbone: Any, ids: Sequence[Sequence[int]], device: torch.device) -> list[Tensor]:
    """Run BERT over texts of one block each, in one batch.

    Args:
        backbone: transformers' `BertModel`.
        ids: per text the ids of "[CLS] phrase . [SEP]".
        device: where the backbone lies.

    Returns:
        Per text (T, D) float32, one row per token.
    """
    lengths = [len(row) for row in ids]
    longest = max(lengths)
    table = torch.zeros(len(ids), longest, dtype=torch.int64)
    positions = torch.zeros_like(table)
    mask = torch.eye(longest, dtype=torch.bool).repeat(len(ids), 1, 1)
    for row, tokens in enumerate(ids):
        end = len(tokens) - 1  # of the block: the last token is [SEP]
        table[row, : len(tokens)] = torch.tensor(tokens)
        positions[row, 1:end] = torch.arange(end - 1)
        mask[row, 1:end, 1:end] = True
    hidden = backbone(
        table.to(device),
        attention_mask=mask[:, None].to(device),
        token_type_ids=torch.zeros_like(table, device=device),
        position_ids=positions.to(device),
    ).last_hidden_state
    return [hidden[row, :length] for row, length in enumerate(lengths)]


def block_features(phrase: str, tokens: Tensor) -> TextFeatures:
    """Wrap the features of "[CLS] phrase . [SEP]"."""
    return TextFeatures((phrase,), tokens, ((1, len(tokens) - 2),))


def join_blocks(parts: Sequence[TextFeatures]) -> TextFeatures:
    """Join texts of any number of blocks to one: [CLS], all blocks in order, [SEP]."""
    rows = [parts[0].tokens[:1], *(part.tokens[1:-1] for part in parts), parts[0].tokens[-1:]]
    spans: list[tuple[int, int]] = []
    start = 0
    for part in parts:
        spans += [(low + start, high + start) for low, high in part.spans]
        start += len(part.tokens) - FRAME_TOKENS
    return TextFeatures(tuple(name for part in parts for name in part.phrases), torch.cat(rows), tuple(spans))


def block_layout(texts: Sequence[TextFeatures], longest: int) -> tuple[Tensor, Tensor]:
    """Return which token sees which, and each token's place in its block.

    Args:
        texts: joined features; a block is a phrase's span and the full stop after it.
        longest: number of tokens that the texts are padded to.

    Returns:
        (B, T, T) bool, True where a token is seen; (B, T) int64 positions, 0 outside blocks.
    """
    sees = torch.eye(longest, dtype=torch.bool).repeat(len(texts), 1, 1)
    positions = torch.zeros(len(texts), longest, dtype=torch.int64)
    for row, text in enumerate(texts):
        for low, high in text.spans:
            sees[row, low : high + 1, low : high + 1] = True
            positions[row, low : high + 1] = torch.arange(high + 1 - low)
    return sees, positions


def span_scores(token_scores: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """Return (N, P) phrase scores: the highest of (N, T) token scores over each phrase's own tokens."""
    table = token_scores.new_zeros(len(token_scores), len(spans))
    for column, (low, high) in enumerate(spans):
        if high > low:
            table[:, column] = token_scores[:, low:high].amax(1)
    return table
