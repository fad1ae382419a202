"""The vocabulary of the models: prompts, text features, image features, detections.

Everything here is a frozen value. Models hold weights, callers hold these.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


def normalize_phrase(phrase: str) -> str:
    """Return `phrase` in Unicode NFC, stripped, with runs of white space as one space; case is kept."""
    return " ".join(unicodedata.normalize("NFC", phrase).split())


@dataclass(frozen=True)
class Prompt:
    """Ordered, distinct phrases that are asked of every frame.

    Attributes:
        phrases: what is looked for, each in the user's own words, normalised, distinct ignoring case.
        sentence: the text that the phrases were taken from, in which each phrase occurs; empty when the
            phrases were given as a list.
    """

    phrases: tuple[str, ...]
    sentence: str = ""

    @classmethod
    def of(cls, phrases: Iterable[str], sentence: str = "") -> Prompt:
        """Normalise `phrases`, drop repetitions (ignoring case, first spelling wins) and build a prompt.

        Raises:
            ValueError: a phrase is empty, or there is none.
        """
        if isinstance(phrases, str):
            raise ValueError(f'phrases must be a list of strings, but got one string; use ["{phrases}"]')
        distinct: dict[str, str] = {}
        for number, phrase in enumerate(phrases, start=1):
            text = normalize_phrase(phrase)
            if not any(unicodedata.category(c)[0] not in "ZC" for c in text):
                raise ValueError(f"phrase {number} is empty; say what to look for, for example 'red car'")
            distinct.setdefault(text.casefold(), text)
        if not distinct:
            raise ValueError("no phrase given; say what to look for, for example 'red car'")
        return cls(tuple(distinct.values()), normalize_phrase(sentence))

    @cached_property
    def id(self) -> str:
        """16 hex digits that are equal for equal prompts on every machine."""
        text = "\x1f".join((self.sentence, *self.phrases))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """What a grounder keeps of a prompt: made once by `encode_text`, used for every frame.

    Attributes:
        phrases: the P phrases, in order.
        tokens: (T, D) floating point; rows of text features (one per phrase in late-fusion models, one per
            token in early-fusion ones), at their true length, never padded.
        spans: for each phrase its half-open range of rows in `tokens`; (k, k) when it has no token.
        pooled: (P, E) one vector per phrase, for models that need it beside `tokens`.
    """

    phrases: tuple[str, ...]
    tokens: Tensor
    spans: tuple[tuple[int, int], ...]
    pooled: Tensor | None = None

    def __post_init__(self) -> None:
        if len(self.spans) != len(self.phrases):
            raise ValueError(f"expected {len(self.phrases)} spans, one per phrase, but got {len(self.spans)}")
        if self.tokens.ndim != 2:
            raise ValueError(f"expected tokens of shape (T, D), but got {tuple(self.tokens.shape)}")


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """The frozen backbone's answer for a batch of pictures, before any text has touched it.

    Attributes:
        levels: one (B, C, H_l, W_l) map per pyramid level, finest first; single-level models have one.
        content_px: (B, 2) int64 height and width of each picture inside the canvas (the rest is padding).
        canvas_px: height and width that all pictures of the batch share.
    """

    levels: tuple[Tensor, ...]
    content_px: Tensor
    canvas_px: tuple[int, int]

    def select(self, rows: Sequence[int]) -> ImageFeatures:
        """Return the features of the pictures at `rows`, in that order (rows may repeat)."""
        index = self.content_px.new_tensor(list(rows))
        on = [level.index_select(0, index.to(level.device)) for level in self.levels]
        return ImageFeatures(tuple(on), self.content_px.index_select(0, index), self.canvas_px)


class RawDetections(NamedTuple):
    """Candidates of one picture, in its letterboxed pixels.

    `boxes_model` is (N, 4) float32 xyxy in pixels of the canvas that the model saw; `phrase_scores` is
    (N, P) float32 in 0..1, one column per phrase of the prompt. Rows are ordered by their best score,
    highest first.
    """

    boxes_model: NDArray[np.float32]
    phrase_scores: NDArray[np.float32]

    @classmethod
    def empty(cls, phrase_count: int) -> RawDetections:
        """Return no candidates for `phrase_count` phrases."""
        return cls(np.zeros((0, 4), np.float32), np.zeros((0, phrase_count), np.float32))


@dataclass(frozen=True)
class PicturePlan:
    """How a frame becomes a model's picture: resized to the content, put top-left on a padded canvas."""

    frame_px: tuple[int, int]
    content_px: tuple[int, int]
    canvas_px: tuple[int, int]
    pad_rgb: tuple[int, int, int] = (0, 0, 0)

    def to_frame(self, boxes_model: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (N, 4) xyxy boxes from canvas pixels to frame pixels, clipped to the frame."""
        (frame_h, frame_w), (content_h, content_w) = self.frame_px, self.content_px
        scale = np.array([frame_w / content_w, frame_h / content_h] * 2, np.float32)
        limit = np.array([frame_w, frame_h] * 2, np.float32)
        boxes: NDArray[np.float32] = np.clip(boxes_model * scale, 0, limit).astype(np.float32, copy=False)
        return boxes


@dataclass(frozen=True)
class SizeRule:
    """A model's own rule for the size of its picture.

    Kinds: `stretch` resizes to exactly `height_px` x `width_px`; `fit` keeps the aspect ratio inside that
    size and pads the rest; `short_side` brings the short side to `height_px` unless the long side would
    pass `width_px`, then pads both sides up to a multiple of `multiple_px`. With `whole_short_side` a
    short side that was cut down is rounded before the long side follows from it, as GLIP does;
    transformers' processors do not, which is a pixel or two at extreme aspect ratios.
    """

    kind: Literal["stretch", "fit", "short_side"]
    height_px: int
    width_px: int
    multiple_px: int = 1
    pad_rgb: tuple[int, int, int] = (0, 0, 0)
    whole_short_side: bool = False

    def plan(self, height_px: int, width_px: int) -> PicturePlan:
        """Return the plan for a frame of `height_px` x `width_px`.

        Raises:
            ValueError: the frame has no pixels.
        """
        if height_px < 1 or width_px < 1:
            raise ValueError(f"expected a frame with at least one pixel, but got {width_px}x{height_px}")
        content = self._content(height_px, width_px)
        canvas = (self.height_px, self.width_px)
        if self.kind == "short_side":
            step = self.multiple_px
            canvas = (-(-content[0] // step) * step, -(-content[1] // step) * step)
        return PicturePlan((height_px, width_px), content, canvas, self.pad_rgb)

    def _content(self, height_px: int, width_px: int) -> tuple[int, int]:
        if self.kind == "stretch":
            return self.height_px, self.width_px
        if self.kind == "fit":
            scale = min(self.height_px / height_px, self.width_px / width_px)
            return (
                max(1, min(self.height_px, round(height_px * scale))),
                max(1, min(self.width_px, round(width_px * scale))),
            )
        short, long = sorted((height_px, width_px))
        target: float = self.height_px
        if long / short * target > self.width_px:
            target = self.width_px * short / long
            target = round(target) if self.whole_short_side else target
        fixed, other = max(1, round(target)), max(1, int(target * long / short))
        return (fixed, other) if height_px <= width_px else (other, fixed)


@dataclass(frozen=True)
class Preset:
    """The numbers that belong to a model's score scale, and to its speed.

    Attributes:
        score: a box is reported, and starts a track, from this score on (0..1).
        floor: candidates below this are never returned; those below `score` only keep tracks alive.
        overlap_iou: of two boxes that overlap more than this, the weaker one is merged into the stronger.
        cpu_batch: pictures at once that a CPU answers fastest, per picture; measured.
    """

    score: float
    floor: float
    overlap_iou: float = 0.7
    cpu_batch: int = 1


@dataclass(frozen=True)
class FeatureInfo:
    """What a temporal adapter may touch of a model's image features.

    Attributes:
        fingerprint: 16 hex digits over what the features are made by (architecture and weights of the
            backbone, not the number format or the picture's size); an adapter belongs to one.
        levels: so many of the first levels are feature maps; None for all.
    """

    fingerprint: str
    levels: int | None = None

    @classmethod
    def of(cls, *parts: str, levels: int | None = None) -> FeatureInfo:
        """Make the fingerprint of the names and hashes in `parts`."""
        return cls(hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16], levels)


@dataclass(frozen=True)
class ModelInfo:
    """Who a model is.

    Attributes:
        name: what the user asked for (`glip-nano`, `google/owlvit-base-patch32`, a folder's name).
        family: registry name of the architecture.
        revision: hash of the weights, 12 hex digits.
        fingerprint: hash over everything that text features depend on (architecture, weights, tokenizer,
            template, dtype); two models with equal fingerprints may share a text cache.
        text_scope: `phrase` when text features of a phrase do not depend on its neighbours, else `prompt`.
        adapter: the temporal adapter that corrects its features, `none` without.
    """

    name: str
    family: str
    revision: str
    fingerprint: str
    text_scope: Literal["phrase", "prompt"]
    adapter: str = "none"
