"""From uint8 pictures on a padded canvas to what a model's first layer takes, on the model's device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from groundstream.models.errors import ModelError


@dataclass(frozen=True)
class PixelRule:
    """How a checkpoint wants its numbers: (pixel - mean) / std, and what stands where no picture is.

    Attributes:
        mean: per channel, in units of 0..255.
        std: per channel, in units of 0..255.
        zero_padding: whether padding is zero after normalisation; else it is normalised like the picture.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    zero_padding: bool = True

    @classmethod
    def from_processor(cls, processor: Mapping[str, Any], zero_padding: bool = True) -> PixelRule:
        """Read mean, deviation and rescaling from the settings of an image processor of transformers.

        Raises:
            ModelError: they ask for normalisation without saying which.
        """
        rescaled = processor.get("do_rescale", processor.get("rescale", True))
        unit = float(processor.get("rescale_factor") or 1 / 255) if rescaled else 1.0
        plain = not processor.get("do_normalize", True)
        mean, std = (
            ([0.0] * 3, [1.0] * 3) if plain else (processor.get("image_mean"), processor.get("image_std"))
        )
        if not mean or not std:
            raise ModelError("the model's preprocessor_config.json names no image_mean and image_std")
        return cls(tuple(m / unit for m in mean), tuple(s / unit for s in std), zero_padding)


def normalize(
    pixels: Tensor, content_px: Tensor, rule: PixelRule, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Normalise pictures on `device` and set their padding.

    A multiplication and an addition in place, in the pixels' own memory order and over whole rows of pixels
    rather than three channels: the same numbers as `kornia.enhance.normalize` in a fraction of its time
    (`benchmarks/grounder_speed.py normalize`).

    Args:
        pixels: (B, H, W, 3) uint8 RGB on any device.
        content_px: (B, 2) int64 height and width of each picture inside the canvas.
        rule: the checkpoint's own numbers.
        device: where the model lies.
        dtype: what its first layer takes.

    Returns:
        (B, 3, H, W) of `dtype` on `device`, channels last in memory.

    Raises:
        ValueError: `pixels` is not (B, H, W, 3) uint8, or a content size does not lie in the canvas.
    """
    check_canvas(pixels, content_px)
    scale = torch.tensor(rule.std, device=device).reciprocal_()
    offset = torch.tensor(rule.mean, device=device).mul_(scale).neg_()
    width = pixels.shape[2]
    rows = pixels.to(device).flatten(2).to(torch.float32)  # (B, H, W * 3)
    x = rows.mul_(scale.repeat(width)).add_(offset.repeat(width)).view(pixels.shape)
    if rule.zero_padding:
        for picture, (height, width) in zip(x, content_px.tolist(), strict=True):
            picture[height:] = 0
            picture[:, width:] = 0
    return x.to(dtype).permute(0, 3, 1, 2)


def check_canvas(pixels: Tensor, content_px: Tensor) -> None:
    """Raise ValueError unless `pixels` is (B, H, W, 3) uint8 and every content size lies in the canvas."""
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != torch.uint8:
        raise ValueError(
            f"expected pixels (B, H, W, 3) uint8, but got {tuple(pixels.shape)} {str(pixels.dtype)[6:]}"
        )
    if tuple(content_px.shape) != (len(pixels), 2):
        raise ValueError(f"expected content_px ({len(pixels)}, 2), but got {tuple(content_px.shape)}")
    canvas = (pixels.shape[1], pixels.shape[2])
    if len(pixels) and not bool(((content_px >= 1) & (content_px <= content_px.new_tensor(canvas))).all()):
        raise ValueError(
            f"expected contents within the canvas {canvas[0]}x{canvas[1]}, but got {content_px.tolist()}"
        )
