"""Where a model's files are: a local folder, the hub's cache, or the hub; checked before they are used.

No torch here: `groundstream models` lists what is cached without loading it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from groundstream.models.errors import ModelError

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")
#: bytes hashed at either end of every tensor; a changed tensor differs there.
_SAMPLE_BYTES = 4096
_SETTINGS = ("*.json", "*.txt", "*.model")


@dataclass(frozen=True)
class Checkpoint:
    """A model's files, found and checked.

    Attributes:
        name: the hub name, or the folder's own name.
        folder: where the files are.
        config: the content of `config.json`.
        weights: the weight files, in order.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]

    @cached_property
    def revision(self) -> str:
        """12 hex digits over the weights: every file's size and header, and both ends of every tensor."""
        digest = hashlib.sha256()
        for path in self.weights:
            _hash_weights(path, digest)
        return digest.hexdigest()[:12]

    def processor(self) -> dict[str, Any]:
        """Return how the checkpoint wants its pictures: the settings of its image processor.

        Raises:
            ModelError: the folder has none.
        """
        path = self.folder / "preprocessor_config.json"
        if path.is_file():
            return read_json(path)
        joint = self.folder / "processor_config.json"  # where transformers 5 saves it
        settings = read_json(joint).get("image_processor") if joint.is_file() else None
        if not isinstance(settings, dict):
            raise ModelError(
                f"model '{self.name}' does not say how it wants its pictures: expected "
                f"preprocessor_config.json in {self.folder}"
            )
        return settings

    def fingerprint(self, *parts: str) -> str:
        """Return 16 hex digits over weights, tokenizer files and `parts` (family, template, dtype)."""
        digest = hashlib.sha256("\x1f".join((self.revision, *parts)).encode())
        for name in ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt"):
            path = self.folder / name
            digest.update(name.encode() + (path.read_bytes() if path.is_file() else b""))
        return digest.hexdigest()[:16]


def find_checkpoint(name: str) -> Checkpoint:
    """Find and check the files of the model called `name`.

    Raises:
        ModelError: they cannot be had, are incomplete or damaged.
    """
    folder = find_folder(name)
    config = read_json(folder / "config.json")
    shown = name if _HUB_NAME.fullmatch(name) and not Path(name).exists() else folder.name
    weights = find_weights(folder)
    for path in weights:
        if path.suffix == ".safetensors":
            _read_header(path)
    return Checkpoint(shown, folder, config, weights)


def find_folder(name: str) -> Path:
    """Return the folder of a local model, or of a hub model (from the cache, else downloaded).

    Raises:
        ModelError: there is no such folder, or the hub's files cannot be had.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return _with_config(path.resolve())
    if path.is_file():
        raise ModelError(f"model '{name}' is a file; give the folder that holds config.json and the weights")
    if not _HUB_NAME.fullmatch(name):
        raise ModelError(
            f"model '{name}' is neither a folder on this machine nor a hub name like OWNER/MODEL"
        )
    return cached_folder(name) or _download(name)


def cached_folder(name: str) -> Path | None:
    """Return the folder of the hub model `name` in the hub's cache when it is complete, else None."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    try:
        find_weights(_with_config(folder))
    except ModelError:
        return None
    return folder


def find_weights(folder: Path) -> tuple[Path, ...]:
    """Return the weight files of `folder`: safetensors, else torch files, one or all shards.

    Raises:
        ModelError: there are none, or a shard is missing.
    """
    for single in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{single}.index.json"
        if (folder / single).is_file():
            return (folder / single,)
        if index.is_file():
            shards = tuple(folder / shard for shard in sorted(set(read_json(index)["weight_map"].values())))
            lost = [shard.name for shard in shards if not shard.is_file()]
            if lost:
                raise ModelError(f"model folder {folder} is incomplete: {lost[0]} is missing; fetch it again")
            return shards
    raise ModelError(
        f"model folder {folder} has no weights; expected model.safetensors or pytorch_model.bin in it"
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`.

    Raises:
        ModelError: the file cannot be read or does not hold a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}; fetch the model's files again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object; fetch the model's files again")
    return content


def _with_config(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelError(f"folder {folder} holds no model: config.json is missing")
    return folder


def _download(name: str) -> Path:
    from huggingface_hub import constants, snapshot_download

    if constants.HF_HUB_OFFLINE:
        raise _cannot_be_had(name, "HF_HUB_OFFLINE is set, so nothing is downloaded")
    from groundstream.models.common.quiet import quiet

    try:
        with quiet():
            folder = Path(snapshot_download(name, allow_patterns=[*_SETTINGS, "model*.safetensors"]))
            if not list(folder.glob("model*.safetensors")):
                snapshot_download(name, allow_patterns=["pytorch_model*.bin"])
    except Exception as error:  # the hub's client raises its own, the transport's and the disk's errors
        raise _cannot_be_had(name, _reason(error)) from error
    find_weights(_with_config(folder))
    return folder


def _reason(error: Exception) -> str:
    kind = type(error).__name__
    if kind in ("RepositoryNotFoundError", "RevisionNotFoundError"):
        return "the hub has no such model, or it is private"
    if kind == "GatedRepoError":
        return "the hub gives it only to users who accepted its terms (log in with `hf auth login`)"
    if isinstance(error, OSError) and error.errno is not None:
        return f"the download failed: {error.strerror}"
    return "the hub cannot be reached"


def _cannot_be_had(name: str, reason: str) -> ModelError:
    from huggingface_hub import constants

    return ModelError(
        f"model '{name}' cannot be had: it is no folder here, it is not complete in the cache "
        f"{constants.HF_HUB_CACHE}, and {reason}; on a machine with network run `hf download {name}`, "
        f"or give a folder with its files: --model FOLDER"
    )


def _read_header(path: Path) -> dict[str, Any]:
    """Return the header of a safetensors file, checked against the file's length."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 2 <= length <= size - 8 else None
        tensors = {key: value for key, value in dict(header or {}).items() if key != "__metadata__"}
        end = max((entry["data_offsets"][1] for entry in tensors.values()), default=-1)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"weights {path} are damaged: {error}; fetch them again") from error
    if 8 + length + end != size:
        raise ModelError(f"weights {path} are incomplete or damaged ({size} bytes); fetch them again")
    return {"start": 8 + length, "tensors": tensors}


def _hash_weights(path: Path, digest: Any) -> None:
    with path.open("rb") as file:
        if path.suffix != ".safetensors":
            digest.update(hashlib.file_digest(file, "sha256").digest())
            return
        header = _read_header(path)
        digest.update(file.read(header["start"]))
        for _, entry in sorted(header["tensors"].items()):
            first, last = entry["data_offsets"]
            for start in (first, max(first, last - _SAMPLE_BYTES)):
                file.seek(header["start"] + start)
                digest.update(file.read(min(_SAMPLE_BYTES, last - start)))
