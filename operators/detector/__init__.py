"""From a decoded frame to a model's answer: letterbox, request, batching, temporal memory.

`DetectionRequest` is a picture on its way, `DetectorClient` what answers it: a `Batcher` in this process, or
a `RemoteDetector` (`pipeline/detectors`) that sends it to another. `batcher`, `temporal` and `probe` import
torch, so their names are not re-exported: a stream's process does without.
"""

from groundstream.operators.detector.client import DetectionRequest, DetectorClient, FrameTime
from groundstream.operators.detector.letterbox import Letterbox, ModelPicture

__all__ = ["DetectionRequest", "DetectorClient", "FrameTime", "Letterbox", "ModelPicture"]
