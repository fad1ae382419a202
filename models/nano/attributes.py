"""Colours and sizes: what a phrase says beside its noun, judged on the picture itself.

Colour is read from the pixels in the middle of a box, not from the network's features: those were trained to
ignore it. A pixel's colour name comes from a tiny classifier over CIELAB that was fitted to the colour names
that people gave (the XKCD survey, CC0), see `training/nano/train_colours.py`.
"""

from __future__ import annotations

import kornia
import torch
from torch import Tensor, nn

from groundstream.models.nano.parse import COLOURS

#: share of the box, in each direction, that is looked at, and points per direction.
MIDDLE = 0.7
POINTS = 12
#: what is brighter than this share of the picture is taken for white, unless it is darker than the second.
LIGHTEST = 0.97
DARKEST_WHITE = 0.5
#: a colour that fills this share of the middle is fully there; pixels of the background are in every box.
FULL_SHARE = 0.4
#: scores of things of the wrong size are multiplied by this at worst: "small" is relative.
WRONG_SIZE = 0.15
#: side of a thing, relative to the picture's, that is neither small nor large.
MIDDLE_SIDE = 0.2
#: how fast small becomes large: log odds per doubling of the side.
SIZE_STEEPNESS = 4


HIDDEN = 24  # width of the colour classifier


class ColourNamer(nn.Module):
    """From RGB to the eleven basic colour terms."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, len(COLOURS)))

    def forward(self, rgb: Tensor) -> Tensor:
        """Map (..., 3) RGB in 0..1 to (..., 11) probabilities."""
        logits = self.layers(to_lab(rgb) / 50)
        # Eleven numbers in a row are too few for a processor's vectors; many pixels in a row are not.
        probabilities: Tensor = logits.movedim(-1, 0).contiguous().softmax(0).movedim(0, -1)
        return probabilities


def to_lab(rgb: Tensor) -> Tensor:
    """Map (..., 3) sRGB in 0..1 to CIELAB under D65: L in 0..100, a and b around -100..100 (CIE 15)."""
    planes = rgb.reshape(-1, 3).T.contiguous()
    lab: Tensor = kornia.color.rgb_to_lab(planes[:, :, None])  # (3, pixels, 1)
    return lab.view(3, -1).T.reshape(rgb.shape)


def shrink_picture(pixels: Tensor, times: int) -> Tensor:
    """Return (B, 3, H / times, W / times) RGB in 0..1, means of (B, H, W, 3) uint8 `pixels`."""
    count, height, width, channels = pixels.shape
    rows = pixels.view(count, height // times, times, width * channels).float().sum(2)  # whole numbers
    means = torch.eye(channels, device=pixels.device).repeat(times, 1) / (255 * times**2)
    blocks = rows.view(count, height // times, width // times, times * channels) @ means
    return blocks.permute(0, 3, 1, 2)


def attribute_factors(
    namer: ColourNamer, boxes: Tensor, attributes: Tensor, picture: Tensor, content_px: tuple[int, int]
) -> Tensor:
    """Return (N, P) factors in 0..1: how well each box has what each phrase says beside its noun.

    Args:
        namer: names colours.
        boxes: (N, 4) xyxy in canvas pixels, inside the content.
        attributes: (P, 12) per phrase: allowed colours (all 0: any) and size (-1 small, 0 any, +1 large).
        picture: (3, h, w) RGB in 0..1, the content at any scale.
        content_px: height and width of the content in canvas pixels.
    """
    colours, sizes = attributes[:, :-1], attributes[:, -1]
    factors = boxes.new_ones(len(boxes), len(attributes))
    if len(boxes) and bool(sizes.any()):
        factors = factors * size_factors(boxes, sizes, content_px)
    asked = colours.any(1)
    if len(boxes) and bool(asked.any()):
        scale = picture.shape[1] / content_px[0]
        shares = colour_shares(namer, boxes, brighten(picture), scale)  # (N, 11)
        there = (shares @ colours[asked].T / FULL_SHARE).clamp(max=1)
        factors[:, asked] *= there
    return factors


def colour_shares(namer: ColourNamer, boxes: Tensor, picture: Tensor, scale: float) -> Tensor:
    """Return (N, 11): which share of the middle of each box has each basic colour.

    Args:
        namer: names colours.
        boxes: (N, 4) xyxy in canvas pixels.
        picture: (3, h, w) RGB in 0..1.
        scale: pixels of `picture` per canvas pixel.
    """
    steps = torch.linspace(0.5 - MIDDLE / 2, 0.5 + MIDDLE / 2, POINTS, device=boxes.device)
    low, side = boxes[:, None, :2] * scale, (boxes[:, None, 2:] - boxes[:, None, :2]) * scale
    places = (low + side * steps[None, :, None]).long()  # (N, 12, 2) columns and rows
    columns = places[:, :, 0].clamp(0, picture.shape[2] - 1)
    rows = places[:, :, 1].clamp(0, picture.shape[1] - 1)
    pixels = picture[:, rows[:, :, None], columns[:, None, :]]  # (3, N, 12, 12)
    shares: Tensor = namer(pixels.permute(1, 2, 3, 0)).mean((1, 2))
    return shares


def brighten(picture: Tensor) -> Tensor:
    """Return a (3, h, w) picture whose lightest parts are white: a white van in the shade is white."""
    light = picture[:, ::2, ::2].amax(0).flatten()
    place = LIGHTEST * (len(light) - 1)  # from the darkest; between two pixels, as `quantile` has it
    best = light.topk(len(light) - int(place)).values
    lightest = best[-1].lerp(best[-2:][0], place % 1)
    return (picture / lightest.clamp(min=DARKEST_WHITE)).clamp(max=1)


def size_factors(boxes: Tensor, sizes: Tensor, content_px: tuple[int, int]) -> Tensor:
    """Return (N, P) factors from `WRONG_SIZE` to 1 by the size of each box relative to the picture."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1).prod(1).sqrt()
    whole = (content_px[0] * content_px[1]) ** 0.5
    octaves = (sides / whole / MIDDLE_SIDE).log2()  # 0 for the middle size, +1 for twice that
    fits = torch.sigmoid(SIZE_STEEPNESS * octaves[:, None] * sizes)
    return torch.where(sizes == 0, 1.0, WRONG_SIZE + (1 - WRONG_SIZE) * fits)
