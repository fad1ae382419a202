"""Put a cutout into a picture: scale, turn, flip, lean, light, cast a shadow, and know exactly what is seen.

Cutouts are turned into patches: small pictures with colours multiplied by alpha, and a place. A canvas takes
patches from back to front and remembers which one owns each pixel; boxes and visibility follow from that. A
pixel belongs to an object where its alpha is above `SOLID`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

#: Alpha (of 255) from which on a pixel counts as part of the object.
SOLID = 64
_NOBODY = -1
_OCCLUDER = -2


@dataclass(frozen=True)
class Placement:
    """Where and how a cutout is shown.

    Attributes:
        center_px: x and y of the cutout's middle, in picture pixels.
        scale: picture pixels per cutout pixel.
        angle_deg: clockwise turn.
        flip: mirrored left to right.
        lean: horizontal shear (pixels to the side per pixel of height).
    """

    center_px: tuple[float, float]
    scale: float
    angle_deg: float = 0.0
    flip: bool = False
    lean: float = 0.0


@dataclass(frozen=True, eq=False)
class Patch:
    """What will be pasted: (h, w, 4) uint8 with colours multiplied by alpha, and its top-left pixel."""

    rgba: NDArray[np.uint8]
    left: int
    top: int


@dataclass(frozen=True, eq=False)
class Seen:
    """What can be seen of one object.

    Attributes:
        box: (4,) float32 xyxy around its visible pixels (pixel edges), zeros when none is visible.
        box_amodal: (4,) float32 xyxy around all its pixels, hidden and outside ones too.
        visibility: visible pixels over all pixels, 0..1.
        pixels: how many pixels are visible.
    """

    box: NDArray[np.float32]
    box_amodal: NDArray[np.float32]
    visibility: float
    pixels: int


def make_patch(rgba: NDArray[np.uint8], placement: Placement) -> Patch:
    """Transform a cutout, (h, w, 4) uint8 with colours not multiplied by alpha."""
    small, rest = _shrink(rgba, placement.scale)
    height, width = small.shape[:2]
    forward = _linear_part(placement, rest)
    corners = (
        np.array([[-width, -height], [width, -height], [-width, height], [width, height]]) / 2 @ forward.T
    )
    low, high = corners.min(axis=0) + placement.center_px, corners.max(axis=0) + placement.center_px
    left, top = int(np.floor(low[0])), int(np.floor(low[1]))
    size = (max(1, int(np.ceil(high[0])) - left), max(1, int(np.ceil(high[1])) - top))
    # warpAffine speaks of pixel centres: hence the halves.
    shift = (
        np.array(placement.center_px) - (left, top) - 0.5 - forward @ (np.array([width, height]) / 2 - 0.5)
    )
    matrix = np.column_stack([forward, shift])
    out = cv2.warpAffine(_premultiply(small), matrix, size, flags=cv2.INTER_LINEAR)
    return Patch(np.asarray(out, np.uint8), left, top)


def _shrink(rgba: NDArray[np.uint8], scale: float) -> tuple[NDArray[np.uint8], float]:
    """Average down before a bilinear warp, which would alias; return the scale that remains."""
    if scale > 0.7:
        return rgba, scale
    size = (max(1, round(rgba.shape[1] * scale)), max(1, round(rgba.shape[0] * scale)))
    return np.asarray(cv2.resize(rgba, size, interpolation=cv2.INTER_AREA), np.uint8), 1.0


def _linear_part(placement: Placement, scale: float) -> NDArray[np.float64]:
    angle = np.radians(placement.angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirror = -1.0 if placement.flip else 1.0
    return np.asarray(scale * turn @ np.array([[mirror, placement.lean], [0.0, 1.0]]), np.float64)


def _premultiply(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    alpha = rgba[..., 3]
    rgb = cv2.multiply(np.ascontiguousarray(rgba[..., :3]), cv2.merge([alpha] * 3), scale=1 / 255)
    return np.dstack([rgb, alpha])


def light(patch: Patch, gain: float, slope: tuple[float, float], tint: NDArray[np.float32]) -> Patch:
    """Return the patch lit: overall `gain`, a change of `slope` from middle to edges, a colour `tint`."""
    height, width = patch.rgba.shape[:2]
    across = np.linspace(-slope[0], slope[0], width, dtype=np.float32)
    down = np.linspace(-slope[1], slope[1], height, dtype=np.float32)
    field = np.maximum(gain * (1 + across[None] + down[:, None]), 0)
    lit = patch.rgba[..., :3] * (field[..., None] * tint)
    alpha = patch.rgba[..., 3:]
    # No channel may pass alpha: that would be brighter than white.
    return Patch(np.dstack([np.minimum(lit, alpha).astype(np.uint8), alpha]), patch.left, patch.top)


def cast_shadow(
    picture: NDArray[np.uint8], patch: Patch, shift: tuple[float, float], flat: float, dark: float
) -> None:
    """Darken `picture` where the patch's shadow falls, in place.

    Args:
        picture: (H, W, 3) uint8.
        patch: what casts the shadow.
        shift: how far it falls, in patch widths and heights.
        flat: its height over the patch's; below 1 it lies on the ground, from the patch's foot.
        dark: 0 (none) to 1 (black).
    """
    height, width = patch.rgba.shape[:2]
    soft = max(2, max(height, width) // 12)
    low = (max(2, width // 4), max(2, round(height * flat) // 4))
    shape = cv2.resize(patch.rgba[..., 3], low, interpolation=cv2.INTER_AREA)
    pad = soft // 4 + 1
    shape = cv2.blur(cv2.copyMakeBorder(shape, pad, pad, pad, pad, cv2.BORDER_CONSTANT), (2 * pad + 1,) * 2)
    mask = cv2.resize(shape, (shape.shape[1] * 4, shape.shape[0] * 4), interpolation=cv2.INTER_LINEAR)
    left = patch.left + round(shift[0] * width) - 4 * pad
    top = patch.top + round(height * (1 - flat) + shift[1] * height) - 4 * pad
    view = _overlap(picture.shape, mask.shape, left, top)
    if view is not None:
        there, here = view
        keep = 255 - cv2.multiply(mask[here], np.ones_like(mask[here]), scale=dark)
        picture[there] = cv2.multiply(picture[there], cv2.merge([keep] * 3), scale=1 / 255)


Window = tuple[slice, slice]


def _overlap(
    picture: tuple[int, ...], patch: tuple[int, ...], left: int, top: int
) -> tuple[Window, Window] | None:
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(picture[1], left + patch[1]), min(picture[0], top + patch[0])
    if x1 <= x0 or y1 <= y0:
        return None
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


class Canvas:
    """A picture under construction, (H, W, 3) uint8 RGB; takes patches from back to front."""

    def __init__(self, background: NDArray[np.uint8]) -> None:
        self.picture = background
        self._owner = np.full(background.shape[:2], _NOBODY, np.int16)
        self._objects: list[Patch] = []

    def add_object(self, patch: Patch) -> None:
        """Paste an object over all that is there; it gets the next number."""
        self._paste(patch, len(self._objects))
        self._objects.append(patch)

    def add_occluder(self, patch: Patch) -> None:
        """Paste something that covers objects and is none itself."""
        self._paste(patch, _OCCLUDER)

    def seen(self) -> list[Seen]:
        """Return what can be seen of every object, in the order of pasting."""
        return [self._seen(number, patch) for number, patch in enumerate(self._objects)]

    def _paste(self, patch: Patch, owner: int) -> None:
        view = _overlap(self.picture.shape, patch.rgba.shape, patch.left, patch.top)
        if view is None:
            return
        there, here = view
        front = patch.rgba[here]
        alpha = front[..., 3]
        behind = cv2.multiply(self.picture[there], cv2.merge([255 - alpha] * 3), scale=1 / 255)
        self.picture[there] = cv2.add(np.ascontiguousarray(front[..., :3]), behind)
        self._owner[there][alpha > SOLID] = owner

    def _seen(self, number: int, patch: Patch) -> Seen:
        solid = patch.rgba[..., 3] > SOLID
        amodal = _box(solid, patch.left, patch.top)
        view = _overlap(self.picture.shape, patch.rgba.shape, patch.left, patch.top)
        if view is None:
            return Seen(np.zeros(4, np.float32), amodal, 0.0, 0)
        there, _ = view
        mine = self._owner[there] == number
        pixels = int(np.count_nonzero(mine))
        box = _box(mine, there[1].start, there[0].start)
        return Seen(box, amodal, pixels / max(1, int(np.count_nonzero(solid))), pixels)


def _box(mask: NDArray[np.bool_], left: int, top: int) -> NDArray[np.float32]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.zeros(4, np.float32)
    edges = [left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1]
    return np.array(edges, np.float32)
