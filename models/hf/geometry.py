"""What a pyramid of one canvas has beside pixels: positions, reference points, proposals, padding.

It depends on sizes only, so it is computed once per canvas and content and kept (a few of them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from groundstream.models.hf.deformable import Sizes

#: pictures of different canvas or content whose geometry is kept.
KEPT = 8


@dataclass(frozen=True, eq=False)
class Geometry:
    """The geometry of a batch; the first dimension is 1 where all pictures share it.

    Attributes:
        sizes: height and width of every level.
        positions: (B, N, C) position embedding of every pixel of every level, level embedding included.
        x, y: (B, N, heads * levels * points) float32, every pixel's own place in pixels of each level.
        ratios: (B, L, 2) float32, share of width and height of each level that is picture.
        proposals: (B, N, 4) float32, logits of a box at every pixel; infinite where none is allowed.
        allowed: (B, N) bool, where a proposal is allowed.
        real: (B, N) bool, False on padding; None where there is none.
    """

    sizes: Sizes
    positions: Tensor
    x: Tensor
    y: Tensor
    ratios: Tensor
    proposals: Tensor
    allowed: Tensor
    real: Tensor | None


class GeometryOf:
    """Geometries for one Grounding DINO.

    Args:
        model: transformers' `GroundingDinoModel` or `MMGroundingDinoModel`.
        dtype: of the position embedding.
    """

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        self._one = lru_cache(maxsize=KEPT)(lambda *key: _picture(model, dtype, *key))

    def __call__(
        self, sizes: Sizes, canvas_px: tuple[int, int], contents: Sequence[Sequence[int]]
    ) -> Geometry:
        """Return the geometry of pictures with `contents` (height, width) on one canvas."""
        distinct = {(int(height), int(width)) for height, width in contents}
        if len(distinct) == 1:
            return self._one(sizes, canvas_px, distinct.pop())
        parts = [self._one(sizes, canvas_px, (int(height), int(width))) for height, width in contents]
        fields = ("positions", "x", "y", "ratios", "proposals", "allowed")
        joined = {field: torch.cat([getattr(part, field) for part in parts]) for field in fields}
        flat = [
            part.allowed.new_ones(part.allowed.shape) if part.real is None else part.real for part in parts
        ]
        return Geometry(sizes, **joined, real=torch.cat(flat))


@torch.no_grad()
def _picture(
    model: Any, dtype: torch.dtype, sizes: Sizes, canvas_px: tuple[int, int], content_px: tuple[int, int]
) -> Geometry:
    device = model.level_embed.device
    masks = [_level_mask(size, canvas_px, content_px).to(device) for size in sizes]  # (1, H_l, W_l) each
    ratios = torch.stack([model.get_valid_ratio(mask) for mask in masks], 1)  # (1, L, 2)
    real = torch.cat([mask.flatten(1) for mask in masks], 1)
    proposals, allowed = box_proposals(masks)
    x, y = _places(model, sizes, ratios)
    return Geometry(
        sizes,
        _positions(model, masks).to(dtype),
        x,
        y,
        ratios,
        proposals,
        allowed,
        None if real.all() else real,
    )


def _level_mask(size: tuple[int, int], canvas_px: tuple[int, int], content_px: tuple[int, int]) -> Tensor:
    """Return (1, H_l, W_l) bool, True on the picture: the canvas' mask, scaled by nearest neighbour."""
    lines = [
        F.interpolate((torch.arange(canvas) < content).float()[None, None], size=length)[0, 0].bool()
        for canvas, content, length in zip(canvas_px, content_px, size, strict=True)
    ]
    return (lines[0][:, None] & lines[1])[None]


def _positions(model: Any, masks: Sequence[Tensor]) -> Tensor:
    """Return (1, N, C): the backbone's own position embedding plus the level's."""
    parts = []
    for level, mask in enumerate(masks):
        embedded = model.backbone.position_embedding(mask[:, None].float(), mask)  # (1, C, H_l, W_l)
        parts.append(embedded.flatten(2).transpose(1, 2) + model.level_embed[level])
    return torch.cat(parts, 1)


def _places(model: Any, sizes: Sizes, ratios: Tensor) -> tuple[Tensor, Tensor]:
    """Return every pixel's place on each level, repeated for the encoder's heads and points."""
    attention = model.encoder.layers[0].deformable_layer.self_attn
    points = model.encoder.get_reference_points(list(sizes), ratios, device=ratios.device)  # (1, N, L, 2)
    extent = torch.tensor([(width, height) for height, width in sizes], device=ratios.device)
    pixels = points * extent - 0.5
    pattern = (*pixels.shape[:2], attention.n_heads, len(sizes), attention.n_points)
    x, y = (pixels[:, :, None, :, None, axis].expand(pattern).flatten(2) for axis in (0, 1))
    return x, y


def box_proposals(masks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return a box at every pixel as logits, and where it lies well within the picture.

    Sides are 0.05 at the finest level, doubled at each coarser one, as in transformers'
    `GroundingDinoModel.generate_encoder_output_proposals`.

    Args:
        masks: per level (1, H_l, W_l) bool, True on the picture.

    Returns:
        (1, N, 4) float32 logits of centre and size (0..1 of the picture), infinite where no box is allowed;
        (1, N) bool, where one is.
    """
    boxes = []
    for level, mask in enumerate(masks):
        _, height, width = mask.shape
        lines, columns = mask[0, :, 0].sum(), mask[0, 0].sum()
        y = (torch.arange(height, device=mask.device) + 0.5) / lines
        x = (torch.arange(width, device=mask.device) + 0.5) / columns
        side = torch.full((height, width), 0.05 * 2.0**level, device=mask.device)
        boxes.append(
            torch.stack((x.expand(height, -1), y[:, None].expand(-1, width), side, side), -1).view(1, -1, 4)
        )
    box = torch.cat(boxes, 1)
    real = torch.cat([mask.flatten(1) for mask in masks], 1)
    allowed = ((box > 0.01) & (box < 0.99)).all(-1) & real
    return box.logit().masked_fill(~allowed[..., None], float("inf")), allowed
