"""A deterministic grounder without weights: it finds blobs of the colour that a phrase names.

For tests, for trying the pipeline, and for `--model fake`. "white van" finds white blobs, "red ball" red
ones; a phrase that names no colour finds dark blobs. Scores say how near the blob's colour is to the asked
one. It stands behind the same interface as the real grounders and takes the same paths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from groundstream.models.base import Grounder
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

COLOURS_RGB: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "gray": (128, 128, 128),
    "grey": (128, 128, 128),
    "red": (230, 25, 25),
    "green": (25, 180, 25),
    "blue": (25, 60, 230),
    "yellow": (240, 220, 25),
    "orange": (255, 140, 0),
    "purple": (140, 30, 180),
    "pink": (255, 130, 190),
    "brown": (120, 70, 30),
    "cyan": (0, 220, 230),
}
DARK_RGB = (40, 40, 40)
NEAR = 80.0  # a pixel belongs to a blob when its RGB distance to the asked colour is below this
FEWEST_PIXELS = 16  # smaller blobs are noise
MOST_BLOBS = 30


class FakeGrounder(Grounder):
    """Colour blobs as phrases; no weights, no randomness, about a millisecond a frame."""

    def __init__(self, size_px: int = 256) -> None:
        version = hashlib.sha256(repr(sorted(COLOURS_RGB.items())).encode()).hexdigest()[:12]
        self.info = ModelInfo("fake", "fake", version, f"fake-{version}", "phrase")
        self.preset = Preset(score=0.5, floor=0.3)
        self.size_rule = SizeRule("fit", size_px, size_px)
        self.features = FeatureInfo.of("fake", version, levels=0)
        self.device, self.dtype = torch.device("cpu"), torch.float32

    @classmethod
    def from_name(
        cls, name: str, *, device: str = "auto", dtype: str = "auto", size_px: int | None = None
    ) -> FakeGrounder:
        """Build the fake; it computes on the CPU in float32 whatever `device` and `dtype` are."""
        return cls(size_px or 256)

    def split_prompt(self, prompt: Prompt) -> tuple[Prompt, ...]:
        """Return the prompt as it is: there is no text limit."""
        return (prompt,)

    def encode_text(self, prompts: Sequence[Prompt]) -> list[TextFeatures]:
        """Encode a phrase as the RGB colour that it names: one row of (P, 3) float32."""
        return [
            TextFeatures(
                prompt.phrases,
                torch.tensor([colour_of(phrase) for phrase in prompt.phrases], dtype=torch.float32),
                tuple((row, row + 1) for row in range(len(prompt.phrases))),
            )
            for prompt in prompts
        ]

    def join_text(self, parts: Sequence[TextFeatures]) -> TextFeatures:
        """Put the colours of single phrases below each other."""
        phrases = tuple(phrase for part in parts for phrase in part.phrases)
        rows = tuple((row, row + 1) for row in range(len(phrases)))
        return TextFeatures(phrases, torch.cat([part.tokens for part in parts]), rows)

    def encode_image(self, pixels: Tensor, content_px: Tensor) -> ImageFeatures:
        """Keep the picture itself, (B, 3, H, W) uint8, as the only level."""
        _, height, width, _ = pixels.shape
        return ImageFeatures((pixels.permute(0, 3, 1, 2),), content_px, (height, width))

    def ground(
        self, features: ImageFeatures, texts: Sequence[TextFeatures], floor: float
    ) -> list[RawDetections]:
        """Find the blobs of each phrase's colour in the content of each picture."""
        (pictures,) = features.levels
        if len(texts) != len(pictures):
            raise ValueError(f"expected {len(pictures)} texts, one per picture, but got {len(texts)}")
        sizes = features.content_px.tolist()
        return [
            _blobs(picture[:, :height, :width].permute(1, 2, 0).numpy(), text.tokens.numpy(), floor)
            for picture, (height, width), text in zip(pictures, sizes, texts, strict=True)
        ]


def colour_of(phrase: str) -> tuple[int, int, int]:
    """Return the RGB colour of the first colour word in `phrase`, else a dark grey."""
    words = phrase.casefold().replace("-", " ").split()
    return next((COLOURS_RGB[word] for word in words if word in COLOURS_RGB), DARK_RGB)


def _blobs(picture: NDArray[np.uint8], colours: NDArray[np.float32], floor: float) -> RawDetections:
    boxes: list[tuple[float, float, float, float]] = []
    rows: list[NDArray[np.float32]] = []
    pixels = picture.astype(np.float32)
    squares = np.einsum("hwc,hwc->hw", pixels, pixels)
    for column, colour in enumerate(colours):
        distance = squares - 2 * (pixels @ colour) + colour @ colour  # (H, W) squared RGB distance
        for box, score in _blobs_in(distance):
            row = np.zeros(len(colours), np.float32)
            row[column] = score
            boxes.append(box)
            rows.append(row)
    if not boxes:
        return RawDetections.empty(len(colours))
    table = np.stack(rows)
    best = table.max(axis=1)
    order = np.argsort(-best, kind="stable")
    order = order[best[order] >= floor][:MOST_BLOBS]
    return RawDetections(np.array(boxes, np.float32)[order], table[order])


def _blobs_in(distance: NDArray[np.float32]) -> list[tuple[tuple[float, float, float, float], float]]:
    labels, _ = ndimage.label(distance < NEAR**2)
    found = []
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[place] == number
        if np.count_nonzero(inside) >= FEWEST_PIXELS:
            off = float(np.sqrt(distance[place][inside].mean()))
            rows, columns = place
            box = (float(columns.start), float(rows.start), float(columns.stop), float(rows.stop))
            found.append((box, round(1.0 - 0.5 * off / NEAR, 4)))
    return found
