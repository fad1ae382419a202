"""From a checked configuration to a detector, here or in a process of its own.

It brings torch with it, so that nothing of `pipeline/streams` may import it: a stream's process does without.
"""

from __future__ import annotations

import os

import torch

from groundstream.models.base import Grounder
from groundstream.models.registry import load_grounder
from groundstream.models.temporal.file import load_adapter
from groundstream.models.temporal.memory import MemoryPool
from groundstream.operators.detector.batcher import Batcher
from groundstream.operators.detector.probe import find_max_batch
from groundstream.operators.detector.temporal import TemporalDetector
from groundstream.operators.text import HandedTexts, open_text_store
from groundstream.operators.text.cache import CachedTextEncoder, TextCache
from groundstream.pipeline.config.run import ModelConfig, RunConfig
from groundstream.pipeline.detectors.host import DetectorHost


def build_detector(config: ModelConfig, cache: TextCache) -> Batcher:
    """Load the model and start the detector's thread.

    Raises:
        ModelError: the model cannot be had.
    """
    grounder = load_grounder(config.name, device=config.device, dtype=config.dtype, size_px=config.size_px)
    encoder = CachedTextEncoder(grounder, cache)
    temporal = _build_temporal(config, grounder)
    max_batch = config.max_batch
    if max_batch is None:
        # A CPU gains nothing from large batches; which one a GPU answers best is found by trying.
        max_batch = grounder.preset.cpu_batch if grounder.device.type == "cpu" else find_max_batch(grounder)
    return Batcher(grounder, encoder.encode, max_batch, temporal)


def _build_temporal(config: ModelConfig, grounder: Grounder) -> TemporalDetector | None:
    if config.adapter == "none":
        return None
    adapter = load_adapter(config.adapter, grounder)
    # A GPU's memory is scarce and converts in no time; on a CPU the conversion would cost more than it saves.
    storage = None if grounder.device.type == "cpu" else torch.float16
    return TemporalDetector(grounder, adapter, MemoryPool(config.adapter_memory_mb << 20, storage))


def build_detector_host(config: RunConfig, name: str, threads: int | None, beside: int) -> DetectorHost:
    """Load the model for streams of other processes.

    Args:
        config: the run.
        name: what the detector is called in health and metrics.
        threads: for the model; None takes this machine's processors, shared with those beside it.
        beside: detectors of this machine, this one included.

    Raises:
        ModelError: the model cannot be had.
    """
    # Ray allows a process as many threads as it reserves processors, which is one here.
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) // beside))
    texts = HandedTexts(open_text_store(config.text_cache or None))
    batcher = build_detector(config.model, TextCache(texts))
    return DetectorHost(batcher, texts, name, batcher.device)
