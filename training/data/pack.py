"""Clean fetched pictures and pack them into a bank of sprites and photographs, see `scenes/bank.py`."""

from __future__ import annotations

import gzip
import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.scenes.bank import BankWriter

logger = logging.getLogger(__name__)

SPRITE_SIDE_PX = 192
PHOTOGRAPH_SIDE_PX = 900
#: Largest distance (CIE Lab, 8 bit) of a 3-D view's mean colour from its catalogue picture.
COLOR_LIMIT = 40.0


@dataclass(frozen=True)
class Picture:
    """A picture to be packed.

    Attributes:
        style: name in `training.scenes.bank.STYLES`.
        key: what tells it from others of its style; the split by picture hangs on it.
        concept: what it shows.
        file: any format that Pillow reads, with transparency.
        like: a picture whose mean colour it must resemble; a 3-D view that lost its textures does not.
    """

    style: str
    key: str
    concept: str
    file: Path
    like: Path | None = None


def pack(
    pictures: Iterable[Picture], photographs: Iterable[tuple[dict[str, str], Path]], folder: Path
) -> tuple[int, int]:
    """Write the bank; return how many sprites and photographs went in. What is left out is logged."""
    sprites = backgrounds = 0
    with BankWriter(folder) as writer:
        for picture in pictures:
            if (rgba := read_sprite(picture)) is not None:
                writer.add_sprite(rgba, picture.style, picture.key, picture.concept)
                sprites += 1
        for row, file in photographs:
            contains = tuple(word for word in row["contains"].split("|") if word)
            if row["split"] == "calibration":
                writer.add_calibration(read_photograph(file), row["path"], contains)
            else:
                writer.add_photograph(read_photograph(file), row["path"], row["split"] == "unseen", contains)
            backgrounds += 1
    return sprites, backgrounds


def read_sprite(picture: Picture) -> NDArray[np.uint8] | None:
    """Return the cropped RGBA picture, at most `SPRITE_SIDE_PX` wide and high, or None where it is unfit."""
    if not picture.file.exists():
        logger.warning("%s: was not drawn", picture.file)
        return None
    rgba = np.asarray(Image.open(picture.file).convert("RGBA"))
    like = None if picture.like is None else np.asarray(Image.open(picture.like).convert("RGBA"))
    if like is not None:
        rgba = _relight(rgba, like)
    reason = _unfit(picture.style, rgba, like)
    if reason:
        logger.info("%s: %s", picture.file, reason)
        return None
    return _bleed(_fit(_crop(rgba), SPRITE_SIDE_PX))


def _relight(rgba: NDArray[np.uint8], like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make a 3-D view as bright as its catalogue picture; models differ widely in their materials."""
    mean, wanted = _mean_brightness(rgba), _mean_brightness(like)
    table = np.clip(np.arange(256) * np.clip(wanted / mean, 0.7, 3.0) + 0.5, 0, 255).astype(np.uint8)
    return np.dstack([table[rgba[..., :3]], rgba[..., 3]])


def _mean_brightness(rgba: NDArray[np.uint8]) -> float:
    solid = rgba[rgba[..., 3] > 128][:, :3]
    return max(1.0, float(solid.mean())) if len(solid) else 1.0


def _unfit(style: str, rgba: NDArray[np.uint8], like: NDArray[np.uint8] | None) -> str:
    solid = rgba[..., 3] > 128
    if solid.sum() < 0.02 * solid.size or min(_crop(rgba).shape[:2]) < 10:
        return "too little to see"
    if style == "clipart" and _is_white_card(_crop(rgba)):
        return "on a white card"
    if like is not None and np.linalg.norm(_mean_lab(rgba) - _mean_lab(like)) > COLOR_LIMIT:
        return "its colours are not those of the catalogue"
    return ""


def _is_white_card(rgba: NDArray[np.uint8]) -> bool:
    border = np.concatenate([rgba[0], rgba[-1], rgba[:, 0], rgba[:, -1]])
    return bool((border.min(axis=1) > 240).mean() > 0.9)


def _mean_lab(rgba: NDArray[np.uint8]) -> NDArray[np.float64]:
    lab = cv2.cvtColor(np.ascontiguousarray(rgba[..., :3]), cv2.COLOR_RGB2LAB)
    mean: NDArray[np.float64] = lab[rgba[..., 3] > 128].mean(axis=0)
    return mean


def _crop(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = np.flatnonzero(rgba[..., 3].any(axis=1)), np.flatnonzero(rgba[..., 3].any(axis=0))
    if not len(rows):
        return rgba[:0, :0]
    return rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _fit(rgba: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    scale = min(1.0, side_px / max(rgba.shape[:2]))
    if scale == 1.0:
        return rgba
    size = (max(1, round(rgba.shape[1] * scale)), max(1, round(rgba.shape[0] * scale)))
    # Weighted by alpha, so that the colour of invisible pixels does not creep in.
    alpha = rgba[..., 3:].astype(np.float32) / 255
    weighted = np.dstack([rgba[..., :3] * alpha, alpha])
    small = np.asarray(cv2.resize(weighted, size, interpolation=cv2.INTER_AREA), np.float32)
    small[..., :3] /= np.maximum(small[..., 3:], 1e-3)
    small[..., 3] *= 255
    fitted: NDArray[np.uint8] = np.clip(small + 0.5, 0, 255).astype(np.uint8)
    return fitted


def _bleed(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give invisible pixels the colour of visible ones near them, so that later resizing leaves no fringe."""
    alpha = rgba[..., 3:].astype(np.float32)
    color, weight = rgba[..., :3] * alpha, alpha
    filled, known = rgba[..., :3].astype(np.float32), alpha[..., 0] > 8
    for reach in (3, 9, 27, 81, 243):
        near = cv2.blur(np.dstack([color, weight]), (reach, reach))
        ready = ~known & (near[..., 3] > 1e-2)
        filled[ready] = near[ready, :3] / near[ready, 3:]
        known |= ready
    out: NDArray[np.uint8] = np.dstack([np.clip(filled + 0.5, 0, 255), rgba[..., 3]]).astype(np.uint8)
    return out


def read_photograph(file: Path) -> NDArray[np.uint8]:
    """Return a photograph (perhaps in a `.gz`) as RGB, its short side `PHOTOGRAPH_SIDE_PX` at most."""
    content = file.read_bytes()
    if file.suffix == ".gz":
        content = gzip.decompress(content)
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    scale = min(1.0, PHOTOGRAPH_SIDE_PX / min(picture.size))
    if scale < 1:
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BOX
        )
    return np.asarray(picture)
