"""Find things in live video by saying what they are.

import groundstream as gs

for result in gs.run("street.mp4", ["person", "white van"]):
    print(result.frame.time_s, result.detections.data["phrase"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundstream.operators.utils.lazy import lazy_names

if TYPE_CHECKING:
    from groundstream.models.types import Prompt
    from groundstream.operators.errors import GroundstreamError
    from groundstream.operators.frames import Frame, FrameResult, SeenObject
    from groundstream.operators.records.detection import record
    from groundstream.pipeline.api import open_pipeline, run
    from groundstream.pipeline.pipeline import Pipeline

__all__ = [
    "Frame",
    "FrameResult",
    "GroundstreamError",
    "Pipeline",
    "Prompt",
    "SeenObject",
    "open_pipeline",
    "record",
    "run",
]
__version__ = "0.2.0"

_HOMES = {
    "Frame": "groundstream.operators.frames",
    "FrameResult": "groundstream.operators.frames",
    "GroundstreamError": "groundstream.operators.errors",
    "Pipeline": "groundstream.pipeline.pipeline",
    "Prompt": "groundstream.models.types",
    "SeenObject": "groundstream.operators.frames",
    "open_pipeline": "groundstream.pipeline.api",
    "record": "groundstream.operators.records.detection",
    "run": "groundstream.pipeline.api",
}

__getattr__ = lazy_names(__name__, _HOMES)
