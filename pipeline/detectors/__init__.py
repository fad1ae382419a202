"""Detectors in processes of their own, and who asks which.

In the stream's process `RemoteDetector`; in the detector's `host.DetectorHost`; with the owner of all
`DetectorPool` and what it restarts by. `build` makes detectors from the configuration. `build` and `host`
import torch and are not re-exported: a stream's process does without.
"""

from groundstream.pipeline.detectors.messages import DetectorFacts, DetectorLink, ProcessLost
from groundstream.pipeline.detectors.pool import DetectorPool
from groundstream.pipeline.detectors.remote import RemoteDetector

__all__ = ["DetectorFacts", "DetectorLink", "DetectorPool", "ProcessLost", "RemoteDetector"]
