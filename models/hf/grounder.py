"""What the grounders of transformers share: files, device, number format, who they are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, Self, TypeVar

import torch
from torch import Tensor

from groundstream.models.base import Grounder
from groundstream.models.common.device import choose_device, choose_dtype
from groundstream.models.common.preprocess import PixelRule, normalize
from groundstream.models.common.weights import Checkpoint, find_checkpoint
from groundstream.models.errors import ModelError
from groundstream.models.hf.loading import load_tokenizer
from groundstream.models.types import FeatureInfo, ModelInfo, Prompt, SizeRule

T = TypeVar("T")


class TransformersGrounder(Grounder):
    """A grounder on a checkpoint of transformers.

    The text encoder stays in float32 whatever `dtype` is: it runs once per prompt, and its features then
    are the same numbers on every machine that shares a text cache.
    """

    family: ClassVar[str]
    #: the class of transformers that the checkpoint is read into.
    model_class: ClassVar[Any]
    tokenizer_class: ClassVar[Any]
    text_scope: ClassVar[Literal["phrase", "prompt"]]
    #: changes when the way from phrase to tokens changes, so that old cache entries are not used.
    template: ClassVar[str]

    def __init__(
        self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype, size_rule: SizeRule
    ) -> None:
        self.device, self.dtype, self.size_rule = device, dtype, size_rule
        self.tokenizer = load_tokenizer(self.tokenizer_class, checkpoint)
        self.pixel_rule = self.read_pixel_rule(checkpoint)
        self.info = ModelInfo(
            name=checkpoint.name,
            family=self.family,
            revision=checkpoint.revision,
            fingerprint=checkpoint.fingerprint(self.family, self.template, "float32"),
            text_scope=self.text_scope,
        )
        self.features = FeatureInfo.of(self.family, checkpoint.revision)
        self.load(checkpoint)

    @classmethod
    def from_name(
        cls, name: str, *, device: str = "auto", dtype: str = "auto", size_px: int | None = None
    ) -> Self:
        """Load the model called `name`: a hub name or a local folder.

        Args:
            name: hub name or folder.
            device: `auto` or what torch calls it (cpu, cuda, cuda:1, ...).
            dtype: `auto`, float32, bfloat16 or float16.
            size_px: short side of the picture in pixels, instead of the checkpoint's own.

        Raises:
            ModelError: the model cannot be had, or does not fit what is asked of it.
        """
        checkpoint = find_checkpoint(name)
        found = str(checkpoint.config.get("model_type"))
        if found != cls.family:
            raise ModelError(f"model '{name}' is of family '{found}', but '{cls.family}' was expected")
        on = choose_device(device)
        return cls(checkpoint, on, choose_dtype(dtype, on), cls.read_size_rule(checkpoint, size_px))

    @classmethod
    @abstractmethod
    def read_size_rule(cls, checkpoint: Checkpoint, size_px: int | None) -> SizeRule:
        """Return the checkpoint's size rule, with the short side `size_px` where that is given."""

    @classmethod
    def read_pixel_rule(cls, checkpoint: Checkpoint) -> PixelRule:
        """Return the checkpoint's mean, deviation and padding."""
        return PixelRule.from_processor(checkpoint.processor())

    @abstractmethod
    def load(self, checkpoint: Checkpoint) -> None:
        """Read the weights and place each part on its device in its number format."""

    def pixel_values(self, pixels: Tensor, content_px: Tensor) -> Tensor:
        """Return (B, 3, H, W) normalised pixels for the backbone."""
        return normalize(pixels, content_px, self.pixel_rule, self.device, self.dtype)


def fixed_size_rule(
    checkpoint: Checkpoint, size_px: int | None, kind: Literal["stretch", "fit"], default_px: int
) -> SizeRule:
    """Return the rule of a model that sees one size only.

    Raises:
        ModelError: another size is asked for.
    """
    size = checkpoint.processor().get("size") or {}
    if not isinstance(size, dict):
        height, width = (size, size) if isinstance(size, int) else (size[0], size[1])
    else:
        height, width = size.get("height", default_px), size.get("width", default_px)
    if size_px not in (None, height):
        raise ModelError(
            f"model '{checkpoint.name}' sees pictures of {width}x{height} pixels only, but a size of "
            f"{size_px} was asked for; leave the size out, or take a model of the grounding-dino family"
        )
    return SizeRule(kind, int(height), int(width))


def short_side_rule(checkpoint: Checkpoint, size_px: int | None) -> SizeRule:
    """Return the rule of a model that scales the short side and keeps the aspect ratio.

    Raises:
        ModelError: `size_px` is too small to see anything.
    """
    settings = checkpoint.processor()
    size = settings.get("size") or {}
    if isinstance(size, int):  # as older processors say it
        size = {"shortest_edge": size, "longest_edge": settings.get("max_size", 1333)}
    short, long = int(size.get("shortest_edge", 800)), int(size.get("longest_edge", 1333))
    if size_px is not None:
        if size_px < 64:
            raise ModelError(f"expected a picture size of at least 64 pixels, but got {size_px}")
        short, long = size_px, round(size_px * long / short)
    return SizeRule("short_side", short, long)


def pack_phrases(prompt: Prompt, lengths: Sequence[int], room: int) -> tuple[Prompt, ...]:
    """Cut `prompt` into prompts whose `lengths` add up to at most `room` each; all phrases, in order."""
    parts: list[list[str]] = [[]]
    used = 0
    for phrase, length in zip(prompt.phrases, lengths, strict=True):
        if parts[-1] and used + length > room:
            parts.append([])
            used = 0
        parts[-1].append(phrase)
        used += length
    if len(parts) == 1:
        return (prompt,)
    return tuple(Prompt(tuple(part), prompt.sentence) for part in parts)


def refuse_long(prompt: Prompt, lengths: Sequence[int], limit: int, model: str) -> None:
    """Raise ValueError if a phrase has more than `limit` tokens of its own."""
    for phrase, length in zip(prompt.phrases, lengths, strict=True):
        if length > limit:
            raise ValueError(
                f"phrase '{phrase[:40]}...' has {length} tokens, but model '{model}' reads at most {limit} "
                f"in a phrase; say it in fewer words"
            )


def in_groups(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    """Yield `items` in runs of at most `size`, in order."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def pad_rows(rows: Sequence[Tensor], device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Stack (T_b, D) tensors to (B, T, D) with zeros below, and return the (B, T) bool mask of real rows."""
    longest = max(len(row) for row in rows)
    batch = torch.zeros(len(rows), longest, rows[0].shape[1], device=device, dtype=dtype)
    real = torch.zeros(len(rows), longest, dtype=torch.bool, device=device)
    for number, row in enumerate(rows):
        batch[number, : len(row)] = row.to(device=device, dtype=dtype)
        real[number, : len(row)] = True
    return batch, real


def check_texts(pictures: int, texts: Sequence[Any]) -> None:
    """Raise ValueError unless there is one text per picture."""
    if len(texts) != pictures:
        raise ValueError(f"expected {pictures} texts, one per picture, but got {len(texts)}")
