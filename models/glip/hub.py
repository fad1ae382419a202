"""Where a GLIP model file comes from: the cache, the hub, or what the user gives; converted once."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from groundstream.models.errors import ModelError
from groundstream.models.glip.config import HUB_REPOSITORY, PUBLISHED
from groundstream.models.glip.files import fetch

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the user's folder for converted checkpoints."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "groundstream" / "glip"


def find_model(name: str) -> Path:
    """Return the model file of `name`: a published model, a folder, a file of ours, or a .pth checkpoint.

    A checkpoint is converted once; the result is kept in the user's cache folder.

    Raises:
        ModelError: there is no such model, or it cannot be had.
    """
    path = Path(name).expanduser()
    if name in PUBLISHED and not path.exists():
        return _published(name)
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        known = ", ".join(PUBLISHED)
        raise ModelError(f"model '{name}' was not found; give {known}, a folder, or a GLIP .pth file")
    if path.suffix == ".safetensors":
        return path
    state = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:16]
    return _converted(path, cache_folder() / f"{path.stem}-{key}")


def cached_model(name: str) -> Path | None:
    """Return the model file of the published model `name` when it was converted before, else None."""
    path = cache_folder() / name / "model.safetensors"
    return path if path.is_file() else None


def _published(name: str) -> Path:
    converted = cached_model(name)
    if converted:
        return converted
    try:
        checkpoint = fetch(HUB_REPOSITORY, PUBLISHED[name].file_name)
    except ModelError as error:
        raise ModelError(f"model '{name}': {error}, or give the file: --model FILE.pth") from error
    return _converted(checkpoint, cache_folder() / name)


def _converted(checkpoint: Path, folder: Path) -> Path:
    target = folder / "model.safetensors"
    if not target.is_file():
        from groundstream.models.glip.convert import convert_checkpoint  # torch, which listing models spares

        _log.info("converting %s once, into %s", checkpoint.name, folder)
        convert_checkpoint(checkpoint, folder)
    return target


def _in_folder(folder: Path) -> Path:
    from groundstream.models.glip.modelfile import is_model_file

    found = [path for path in sorted(folder.glob("*.safetensors")) if is_model_file(path)]
    if len(found) == 1:
        return found[0]
    raise ModelError(
        f"folder {folder} holds {len(found)} converted GLIP models, expected one; "
        f"make it with `groundstream models convert FILE.pth {folder}`"
    )
