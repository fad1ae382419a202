"""Temporal adapters: what a frame's features gain by what is remembered of its stream.

`cta` is the adapter with weights, `memory` holds what streams remember, `file` reads and writes adapters.
"""

from groundstream.models.temporal.base import Memory, TemporalAdapter
from groundstream.models.temporal.cta import CTA, CTAConfig
from groundstream.models.temporal.file import load_adapter, save_adapter
from groundstream.models.temporal.memory import MemoryFull, MemoryPool
from groundstream.models.temporal.scene_cut import SceneCuts, Verdict, describe

__all__ = [
    "CTA",
    "CTAConfig",
    "Memory",
    "MemoryFull",
    "MemoryPool",
    "SceneCuts",
    "TemporalAdapter",
    "Verdict",
    "describe",
    "load_adapter",
    "save_adapter",
]
