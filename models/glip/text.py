"""From phrases to tokens: captions, where each phrase stands in them, and prompts that are too long.

Source: `engine/inference.py`, `data/datasets/od_to_grounding.py` of microsoft/GLIP.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import BatchEncoding, BertTokenizer

from groundstream.models.glip.config import TOKEN_LIMIT
from groundstream.models.types import Prompt

_log = logging.getLogger(__name__)
SEPARATOR = ". "
#: [CLS] in front, [SEP] at the end.
SPECIALS = 2


@dataclass(frozen=True)
class Caption:
    """A text for BERT, and the half-open range of characters in which each phrase stands."""

    text: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Tokens:
    """A tokenised caption: token numbers with [CLS] and [SEP], and each phrase's half-open token range."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


def clean_phrase(phrase: str) -> str:
    """Return `phrase` as GLIP's class names are written: no brackets, no underscores, no double spaces."""
    cleaned = re.sub(r"\(.*\)", "", phrase).replace("_", " ").replace("  ", " ")
    return cleaned if cleaned.strip() else phrase


def caption_of(prompt: Prompt) -> Caption:
    """Return the caption of `prompt`: its sentence, or its phrases joined by ". ".

    Raises:
        ValueError: a phrase does not occur in the sentence.
    """
    if prompt.sentence:
        return Caption(prompt.sentence, find_in_sentence(prompt.phrases, prompt.sentence))
    names = [clean_phrase(phrase) for phrase in prompt.phrases]
    spans, start = [], 0
    for name in names:
        spans.append((start, start + len(name)))
        start += len(name) + len(SEPARATOR)
    return Caption(SEPARATOR.join(names), tuple(spans))


def find_in_sentence(phrases: Sequence[str], sentence: str) -> tuple[tuple[int, int], ...]:
    """Return for each phrase its first occurrence in `sentence` that no earlier phrase has taken.

    Whole words first ("car" is not the beginning of "carpet"), ignoring case.

    Raises:
        ValueError: a phrase does not occur any more.
    """
    taken: list[tuple[int, int]] = []
    for phrase in phrases:
        literal = re.escape(phrase)
        places = [
            match.span()
            for pattern in (rf"(?<!\w){literal}(?!\w)", literal)
            for match in re.finditer(pattern, sentence, re.IGNORECASE)
        ]
        free = (p for p in places if all(p[1] <= begin or end <= p[0] for begin, end in taken))
        place = next(free, None)
        if place is None:
            raise ValueError(
                f"phrase '{phrase}' was not found in the sentence '{sentence}'; give it as written there"
            )
        taken.append(place)
    return tuple(taken)


class PhraseTokenizer:
    """BERT's word pieces, with each phrase's place among them."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        # transformers 5 takes `vocab_file=` in silence and then knows five words; it has to be `vocab=`.
        self._tokenizer = BertTokenizer(vocab={piece: number for number, piece in enumerate(vocabulary)})

    def encode(self, caption: Caption) -> Tokens:
        """Tokenise a caption at its true length; a phrase without any token has an empty span."""
        encoding = self._tokenizer(caption.text)
        spans = tuple(_token_span(encoding, begin, end) for begin, end in caption.spans)
        return Tokens(tuple(encoding["input_ids"]), spans)

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, without [CLS] and [SEP]."""
        return len(self._tokenizer(text)["input_ids"]) - SPECIALS

    def is_unknown(self, phrase: str) -> bool:
        """Whether no part of `phrase` is in the vocabulary."""
        pieces = self._tokenizer(clean_phrase(phrase))["input_ids"][1:-1]
        return all(piece == self._tokenizer.unk_token_id for piece in pieces)


def split_prompt(prompt: Prompt, tokenizer: PhraseTokenizer) -> tuple[Prompt, ...]:
    """Cut `prompt` into prompts of at most 256 tokens; a sentence that is longer is asked as its phrases.

    Raises:
        ValueError: a single phrase is longer than that, or does not occur in its sentence.
    """
    total = tokenizer.count(caption_of(prompt).text) + SPECIALS
    if total <= TOKEN_LIMIT:
        return (prompt,)
    parts: list[list[str]] = []
    room = 0
    for phrase in prompt.phrases:
        length = tokenizer.count(clean_phrase(phrase))
        if length > TOKEN_LIMIT - SPECIALS:
            raise ValueError(
                f"phrase '{phrase[:40]}...' has {length} tokens, but GLIP reads at most "
                f"{TOKEN_LIMIT - SPECIALS}; say it in fewer words"
            )
        if length + 1 > room:
            parts.append([])
            room = TOKEN_LIMIT - SPECIALS + 1  # the first phrase of a caption has no separator before it
        parts[-1].append(phrase)
        room -= length + 1
    _log.info(
        "%d phrases need %d tokens, GLIP reads %d at a time: asked in %d parts",
        *(len(prompt.phrases), total, TOKEN_LIMIT, len(parts)),
    )
    return tuple(Prompt(tuple(part)) for part in parts)


def _token_span(encoding: BatchEncoding, begin: int, end: int) -> tuple[int, int]:
    """Return the tokens of characters begin..end; a few characters at either end may have none."""
    first = _first_token(encoding, (begin, begin + 1, begin + 2))
    last = _first_token(encoding, (end - 1, end - 2, end - 3))
    if first is None or last is None or last < first:
        return (0, 0)
    return (first, last + 1)


def _first_token(encoding: BatchEncoding, places: Sequence[int]) -> int | None:
    tokens = (encoding.char_to_token(place) for place in places if place >= 0)
    return next((token for token in tokens if token is not None), None)
