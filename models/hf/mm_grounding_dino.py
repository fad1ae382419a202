"""MM Grounding DINO: Grounding DINO trained anew on open data, with scaled and shifted similarities.

Zhao et al., "An Open and Comprehensive Pipeline for Unified Object Grounding and Detection" (2024);
transformers' `modeling_mm_grounding_dino.py`. LLMDet's checkpoints have the same architecture.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from transformers import MMGroundingDinoForObjectDetection

from groundstream.models.hf.grounding_dino import GroundingDino
from groundstream.models.types import Preset


class MMGroundingDino(GroundingDino):
    """MM Grounding DINO; differs from Grounding DINO in how logits are made."""

    family = "mm-grounding-dino"
    preset = Preset(score=0.3, floor=0.2, overlap_iou=0.7)
    model_class = MMGroundingDinoForObjectDetection

    def similarity(self, head: Any, features: Tensor, tokens: Tensor) -> Tensor:
        """Return (B, Q, T) logits: the product over the root of C, plus the head's bias."""
        logits: Tensor = features @ tokens.transpose(1, 2) / math.sqrt(features.shape[-1]) + head.bias
        return logits
