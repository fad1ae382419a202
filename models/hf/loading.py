"""Read a checkpoint into transformers' own classes: strictly, silently, without pickle."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from groundstream.models.common.quiet import quiet
from groundstream.models.common.weights import Checkpoint
from groundstream.models.errors import ModelError

log = logging.getLogger(__name__)

#: the last normalisation of a Swin that serves as a backbone, which has its own at every level.
_UNUSED = ("swin.layernorm.weight", "swin.layernorm.bias")
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")

#: buffers that older checkpoints carry and that today's classes compute themselves.
_COMPUTED = ("position_ids", "relative_position_index", "num_batches_tracked", "attn_mask")


def load_model(
    model_class: Any, checkpoint: Checkpoint, config: Any = None, weights: dict[str, Tensor] | None = None
) -> Any:
    """Return a `model_class` in evaluation mode with float32 weights, none missing, none of a wrong shape.

    Args:
        model_class: a class of transformers with `from_pretrained`.
        checkpoint: the checked files.
        config: instead of the one in the folder, where that had to be changed.
        weights: likewise.

    Raises:
        ModelError: the files do not fit the class.
    """
    given = {"config": config, "state_dict": weights} if weights is not None else {"local_files_only": True}
    try:
        with quiet():
            model, report = model_class.from_pretrained(
                None if weights is not None else checkpoint.folder,
                dtype=torch.float32,
                weights_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that they are reported, and refused below
                **given,
            )
    except Exception as error:  # safetensors, pickle, JSON, config validation: each raises its own
        reason = str(error).strip().split("\n")[0][:200]
        raise ModelError(
            f"model '{checkpoint.name}' cannot be read from {checkpoint.folder}: {reason}"
        ) from error
    _refuse_gaps(checkpoint, report)
    return model.eval().requires_grad_(False)


def load_tokenizer(tokenizer_class: Any, checkpoint: Checkpoint) -> Any:
    """Return the checkpoint's own tokenizer, read as `tokenizer_class`.

    (transformers' `AutoTokenizer` would read the model's config first, and ask the hub about old ones.)

    Raises:
        ModelError: the folder holds none, or it cannot be read.
    """
    if not any((checkpoint.folder / name).is_file() for name in _VOCABULARIES):
        # transformers would make up a vocabulary of a few special tokens, without a word
        raise ModelError(
            f"model '{checkpoint.name}' has no tokenizer: expected tokenizer.json in {checkpoint.folder}"
        )
    try:
        with quiet():
            tokenizer = tokenizer_class.from_pretrained(checkpoint.folder, local_files_only=True)
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise ModelError(
            f"model '{checkpoint.name}' has no readable tokenizer in {checkpoint.folder}: {reason}"
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"model '{checkpoint.name}' has no fast tokenizer; expected tokenizer.json in {checkpoint.folder}"
        )
    return tokenizer


def _refuse_gaps(checkpoint: Checkpoint, report: Any) -> None:
    """Raise on missing or misshapen tensors; name those that the file has too many, once, in the log."""
    report = report if isinstance(report, dict) else vars(report)
    gaps = sorted(key for key in report["missing_keys"] if not key.endswith(_UNUSED)) + sorted(
        str(key[0]) for key in report["mismatched_keys"]
    )
    if gaps:
        raise ModelError(
            f"model '{checkpoint.name}' does not fit its architecture "
            f"'{checkpoint.config.get('model_type')}': {len(gaps)} tensors are missing or have "
            f"another shape, among them {gaps[0]}; fetch it again"
        )
    surplus = sorted(key for key in report["unexpected_keys"] if not key.endswith(_COMPUTED))
    if surplus:
        log.warning(
            "%s: %d tensors of the file are not used, among them %s",
            checkpoint.name,
            len(surplus),
            surplus[0],
        )
