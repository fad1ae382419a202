"""From a decoded frame to the picture that a model sees, and back."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from groundstream.models.types import PicturePlan, SizeRule


@dataclass(frozen=True, eq=False)
class ModelPicture:
    """A letterboxed picture: `pixels` (H, W, 3) uint8 RGB on its canvas, and the plan to go back."""

    pixels: NDArray[np.uint8]
    plan: PicturePlan


class Letterbox:
    """Resizes frames of one stream straight from their own pixel format (usually YUV) to the model's size.

    One swscale pass converts and resizes; the scaling context is kept from frame to frame. A new frame size
    only makes a new plan.
    """

    def __init__(self, rule: SizeRule, interpolation: str = "BICUBIC") -> None:
        self._rule = rule
        self._interpolation = interpolation
        self._reformatter = VideoReformatter()
        self._plan: PicturePlan | None = None

    def __call__(self, frame: av.VideoFrame) -> ModelPicture:
        """Return the picture of `frame`; the frame is not changed."""
        size = (frame.height, frame.width)
        if self._plan is None or self._plan.frame_px != size:
            self._plan = self._rule.plan(*size)
        plan = self._plan
        height, width = plan.content_px
        small = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=self._interpolation
        )
        pixels = np.asarray(small.to_ndarray(), np.uint8)
        if plan.content_px == plan.canvas_px:
            return ModelPicture(pixels, plan)
        canvas = np.empty((*plan.canvas_px, 3), np.uint8)
        canvas[:] = plan.pad_rgb
        canvas[:height, :width] = pixels
        return ModelPicture(canvas, plan)
