"""Our file for a GLIP: one safetensors file that holds weights, configuration and vocabulary."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from groundstream.models.errors import ModelError
from groundstream.models.glip.config import GlipConfig

FORMAT = "groundstream-glip/1"


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A GLIP as it lies on disk.

    Attributes:
        config: its architecture.
        vocabulary: word pieces, in the order of their numbers.
        weights: tensors under our names.
    """

    config: GlipConfig
    vocabulary: tuple[str, ...]
    weights: Mapping[str, Tensor]

    @property
    def fingerprint(self) -> str:
        """64 hex digits over everything in the file (a second per gigabyte)."""
        digest = hashlib.sha256("\n".join((FORMAT, self.config.to_json(), *self.vocabulary)).encode())
        for name, tensor in sorted(self.weights.items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def save(self, path: Path) -> str:
        """Write the file in one step (a reader never meets half of it) and return its fingerprint.

        Raises:
            ModelError: the place cannot be written.
        """
        fingerprint = self.fingerprint
        metadata = {
            "format": FORMAT,
            "config": self.config.to_json(),
            "vocabulary": "\n".join(self.vocabulary),
            "fingerprint": fingerprint,
        }
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(partial, self.weights, metadata)
            partial.replace(path)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"cannot write {path}: {error}; give another place") from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        return fingerprint


def read_model_file(path: Path) -> tuple[ModelFile, str]:
    """Read and check a file that `ModelFile.save` wrote; return it with its fingerprint.

    Raises:
        ModelError: the file is none of ours, damaged, or its content is not what its fingerprint says.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ModelError(
                    f"{path} is no GLIP of ours; make one with `groundstream models convert FILE.pth OUT`"
                )
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- no iterator
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read {path}: {error}; convert the checkpoint again") from error
    vocabulary = tuple(metadata["vocabulary"].split("\n"))
    model = ModelFile(GlipConfig.from_json(metadata["config"]), vocabulary, weights)
    if model.fingerprint != metadata["fingerprint"]:
        raise ModelError(f"{path} is damaged: its content does not match its fingerprint; convert it again")
    return model, metadata["fingerprint"]


def _write(path: Path, weights: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    path.touch()
    mode = path.stat().st_mode  # as the user's umask has it; safetensors would leave 0600
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path, metadata)
    path.chmod(mode)


def is_model_file(path: Path) -> bool:
    """Whether `path` is a safetensors file of ours; reads its header only."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (OSError, SafetensorError):
        return False


def read_vocabulary(path: Path) -> Sequence[str]:
    """Return the word pieces of a BERT `vocab.txt`, one a line.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the vocabulary {path}: {error}; give BERT's vocab.txt") from error
