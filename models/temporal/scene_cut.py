"""Scene cuts, told from the features themselves: bounded state, and a way back after a flash.

A picture is described by the layout of its coarsest features: averaged over a 4 x 4 grid, without what all
cells of the grid share, at length 1. Gain, noise and blur move all cells alike and leave the layout; another
scene has another one. A picture is cut off from the last when the cosine distance of the two is large, and
far beyond what the stream's recent frames showed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

GRID = 4
#: a distance below this is never a cut. With glip-nano on 27 photographs and frames, 95 of 100 pairs of
#: scenes are further apart (median 0.93); the same scene at a quarter of the light is at 0.20 (median), with
#: motion blur at 0.45, at JPEG quality 8 at 0.63. Noise that hides almost all is as far: a false cut costs
#: memory, no more.
LEAST_CUT = 0.7
#: beside that, a cut is beyond the median and so many median deviations of the recent distances.
DEVIATIONS = 6.0
REMEMBERED = 32
#: what was seen before a cut is kept so long, in case it was a flash.
FLASH_S = 0.5


class Verdict(Enum):
    """How a frame follows on the ones before."""

    SAME = "same"  # the scene of the last frame
    CUT = "cut"  # a new scene; the old one is set aside
    AGAIN = "again"  # another cut, while an older scene is still set aside
    BACK = "back"  # the scene that was set aside: what came between was a flash


@torch.no_grad()
def describe(levels: Sequence[Tensor]) -> NDArray[np.float32]:
    """Return (B, C * 16) float32 descriptors of length 1 of the coarsest level with 4 x 4 cells or more.

    Args:
        levels: one (B, C_l, H_l, W_l) map per level, finest first.
    """
    level = next((x for x in reversed(levels) if min(x.shape[2:]) >= GRID), levels[0])
    grid = F.adaptive_avg_pool2d(level, GRID).flatten(2).float().cpu().numpy()
    layout = (grid - grid.mean(2, keepdims=True)).reshape(len(grid), -1)
    lengths = np.linalg.norm(layout, axis=1, keepdims=True)
    answer: NDArray[np.float32] = layout / np.maximum(lengths, 1e-12)
    return answer


class SceneCuts:
    """Tells cuts in one stream.

    After a cut the old scene is set aside for `FLASH_S`: a frame that is nearer to it than to the last frame
    tells that the cut was a flash, a damaged frame or a short insert.
    """

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._before: NDArray[np.float32] | None = None
        self._cut_s = 0.0
        self._recent: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def waiting(self) -> bool:
        """Whether a scene is set aside that may still come back."""
        return self._before is not None

    def update(self, descriptor: NDArray[np.float32], time_s: float) -> Verdict:
        """Take the next frame's descriptor (of `describe`) and media time in seconds."""
        last, self._last = self._last, descriptor
        if last is None:
            return Verdict.SAME
        far = _distance(descriptor, last)
        if self._before is not None:
            back = _distance(descriptor, self._before)
            if back < far and not self._is_far(back):
                self._before = None
                return Verdict.BACK
            if time_s - self._cut_s > FLASH_S:
                self._before = None
        if not self._is_far(far):
            self._recent.append(far)
            return Verdict.SAME
        if self._before is not None:
            return Verdict.AGAIN
        self._before, self._cut_s = last, time_s
        return Verdict.CUT

    def _is_far(self, distance: float) -> bool:
        if distance <= LEAST_CUT or not self._recent:
            return distance > LEAST_CUT
        seen = np.array(self._recent)
        middle = float(np.median(seen))
        return distance > middle + DEVIATIONS * float(np.median(np.abs(seen - middle)))


def _distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return 1.0 - float(a @ b)
