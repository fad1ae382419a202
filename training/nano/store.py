"""The open branch as tensors of the weight file: what `OpenBranch.from_tensors` reads."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from groundstream.models.nano.open_branch import PREFIX, OpenBranch, OpenWords


def branch_tensors(branch: OpenBranch) -> dict[str, Tensor]:
    """Return what `OpenBranch.from_tensors` reads; weights as float16."""
    state = {key: value.half() for key, value in branch.head.state_dict().items()}
    state |= {"words": words_tensor(branch.words), "alike": branch.alike.to(torch.uint8)}
    state |= {"bias": branch.bias.half(), "scale": torch.tensor(list(branch.scale))}
    return {PREFIX + key: value for key, value in state.items()}


def words_tensor(words: OpenWords) -> Tensor:
    """Return what `OpenWords.from_tensor` reads: (N,) uint8."""
    lines = (
        f"{' '.join(entry)}\t{' '.join(map(str, words.entries[entry]))}" for entry in sorted(words.entries)
    )
    packed = zlib.compress("\n".join(lines).encode(), 9)
    return torch.frombuffer(bytearray(packed), dtype=torch.uint8)
