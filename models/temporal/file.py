"""Adapters on disk: weights, configuration, and the features that they belong to, under one checksum."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from groundstream.models.base import Grounder
from groundstream.models.common.tensor_file import checksum
from groundstream.models.errors import ModelError
from groundstream.models.temporal.base import TemporalAdapter
from groundstream.models.temporal.baselines import FeatureEMA, NoAdapter
from groundstream.models.temporal.cta import CTA, CTAConfig

FORMAT = "groundstream.adapter/1"
#: adapters that ship with the package, by the family of the model that they are for.
SHIPPED = {"nano": Path(__file__).parent.parent / "weights" / "glip-nano-adapter.safetensors"}


def save_adapter(path: Path, adapter: CTA, grounder: Grounder) -> None:
    """Write `adapter`, trained on the features of `grounder`, to `path`; an older file is replaced."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in adapter.state_dict().items()}
    about = {
        "format": FORMAT,
        "config": json.dumps(dataclasses.asdict(adapter.config), sort_keys=True),
        "model": grounder.info.name,
        "features": grounder.features.fingerprint,
    }
    path.write_bytes(save(tensors, about | {"sha256": _checksum(tensors, about)}))


def load_adapter(name: str, grounder: Grounder) -> TemporalAdapter:
    """Return the adapter called `name`, ready to serve `grounder`.

    Args:
        name: `none`, `ema`, `cta` (the one that ships for this model), or a file of `save_adapter`.
        grounder: the model whose features it will work on.

    Raises:
        ModelError: there is no such adapter, it is damaged, or it belongs to another model's features.
    """
    if name != "none" and grounder.features.levels == 0:
        raise ModelError(
            f"model '{grounder.info.name}' has no features that an adapter could work on; use --adapter none"
        )
    if name in ("none", "ema"):
        adapter: TemporalAdapter = NoAdapter() if name == "none" else FeatureEMA()
    else:
        adapter = _read(_path(name, grounder), grounder)
    return adapter.prepare(grounder.device, grounder.dtype)


def _path(name: str, grounder: Grounder) -> Path:
    if name != "cta":
        path = Path(name).expanduser()
        if not path.is_file():
            raise ModelError(
                f"unknown adapter '{name}'; use cta, ema, none or a file of `groundstream adapt`"
            )
        return path
    shipped = SHIPPED.get(grounder.info.family)
    if shipped is None or not shipped.is_file():
        raise ModelError(
            f"no adapter ships for model '{grounder.info.name}'; train one on your own video with "
            "`groundstream adapt`, or use --adapter ema or none"
        )
    return shipped


def _read(path: Path, grounder: Grounder) -> CTA:
    tensors, about = _contents(path)
    if about.get("features") != grounder.features.fingerprint:
        raise ModelError(
            f"the adapter {path} belongs to the features {about.get('features')} of model "
            f"'{about.get('model')}', but model '{grounder.info.name}' has the features "
            f"{grounder.features.fingerprint}; train one for it with `groundstream adapt`"
        )
    try:
        values: dict[str, Any] = json.loads(about["config"])
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        adapter = CTA(CTAConfig(**(values | lists)))
        adapter.load_state_dict(tensors, strict=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise ModelError(f"the adapter {path} does not fit this version of groundstream: {reason}") from error
    adapter.name = f"cta-{about['sha256'][:8]}"
    return adapter


def _contents(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            about: dict[str, str] = dict(file.metadata() or {})
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the adapter {path} cannot be read: {error}") from error
    if about.get("format") != FORMAT:
        raise ModelError(f"{path} is no adapter; expected a file of `groundstream adapt`")
    expected = about.pop("sha256", "none")
    if (found := _checksum(tensors, about)) != expected:
        raise ModelError(
            f"the adapter {path} is damaged: checksum {found[:12]}, expected {expected[:12]}; make it again"
        )
    return tensors, about | {"sha256": expected}


def _checksum(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    text = json.dumps(dict(about), sort_keys=True)
    return hashlib.sha256(f"{checksum(tensors)}\n{text}".encode()).hexdigest()
