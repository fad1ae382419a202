"""A stand-in for a model on a GPU: its forward takes a known time and leaves the processor alone.

`install(folder, base_ms, picture_ms)` writes it as a model that `--model FOLDER` takes in every process that
is started afterwards.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from groundstream.models.fake import FakeGrounder
from groundstream.models.registry import FAMILIES
from groundstream.models.types import ImageFeatures, RawDetections, SizeRule, TextFeatures

BOXES = np.array([[20, 30, 80, 90], [100, 40, 160, 120], [200, 60, 300, 200]], np.float32)

#: Python runs a module of this name at every start; it makes the family known, and imports nothing heavy.
_AT_START = """
from groundstream.models.registry import FAMILIES
FAMILIES["timed"] = ("timed_grounder", "TimedGrounder")
"""


class TimedGrounder(FakeGrounder):
    """A batch of n takes `base_ms + n * picture_ms`; every picture has the same three objects."""

    def __init__(self, base_ms: float, picture_ms: float) -> None:
        super().__init__()
        self.size_rule = SizeRule("stretch", 416, 416)
        self._base_s, self._picture_s = base_ms / 1e3, picture_ms / 1e3

    @classmethod
    def from_name(
        cls, name: str, *, device: str = "auto", dtype: str = "auto", size_px: int | None = None
    ) -> TimedGrounder:
        """Read the times from the folder's `config.json`."""
        values = json.loads((Path(name) / "config.json").read_text())
        return cls(values["base_ms"], values["picture_ms"])

    def encode_image(self, pixels: Tensor, content_px: Tensor) -> ImageFeatures:
        """Sleep as long as the batch takes."""
        time.sleep(self._base_s + self._picture_s * len(pixels))
        return super().encode_image(pixels, content_px)

    def ground(
        self, features: ImageFeatures, texts: Sequence[TextFeatures], floor: float
    ) -> list[RawDetections]:
        """Return the same three objects for every picture, each of the first phrase."""
        scores = [np.zeros((len(BOXES), len(text.phrases)), np.float32) for text in texts]
        for table in scores:
            table[:, 0] = 0.9
        return [RawDetections(BOXES.copy(), table) for table in scores]


def install(folder: Path, base_ms: float, picture_ms: float) -> Path:
    """Write the model and make its family known to the processes that this one starts from now on."""
    folder.mkdir(parents=True)
    values = {"model_type": "timed", "base_ms": base_ms, "picture_ms": picture_ms}
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "sitecustomize.py").write_text(_AT_START)
    paths = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    FAMILIES["timed"] = ("timed_grounder", "TimedGrounder")
    return folder
