"""Weight files that carry a checksum of their own numbers: safetensors, written and read strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from groundstream.models.errors import ModelError


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, shapes, formats and bytes of `tensors`, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write `tensors` to `path` with their checksum; an older file is replaced."""
    whole = {name: value.contiguous() for name, value in tensors.items()}
    path.write_bytes(save(whole, {"sha256": checksum(whole)}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read and verify the tensors of `path`.

    Raises:
        ModelError: the file is missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            expected = (file.metadata() or {}).get("sha256", "none")
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"the weights {path} cannot be read ({error}); install groundstream again"
        ) from error
    if (found := checksum(tensors)) != expected:
        raise ModelError(
            f"the weights {path} are damaged: checksum {found[:12]}, expected {expected[:12]}; "
            "install groundstream again"
        )
    return tensors
