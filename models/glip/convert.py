"""From an official .pth checkpoint to our file: read safely, rename strictly, leave nothing unsaid."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundstream.models.errors import ModelError
from groundstream.models.glip.config import PUBLISHED, GlipConfig
from groundstream.models.glip.files import BERT, fetch
from groundstream.models.glip.modelfile import ModelFile, read_vocabulary
from groundstream.models.glip.names import dropped_names, to_ours, without_prefix
from groundstream.models.glip.network import GlipNetwork


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did.

    Attributes:
        source: the checkpoint.
        target: the file that was written.
        config: the architecture that was recognised.
        tensors: number of tensors written.
        parameters: number of values in them.
        dropped: official names that were left out, because inference does not use them.
        fingerprint: 64 hex digits over the written content.
    """

    source: Path
    target: Path
    config: GlipConfig
    tensors: int
    parameters: int
    dropped: tuple[str, ...]
    fingerprint: str


def convert_checkpoint(
    src: Path, out: Path, *, config: GlipConfig | None = None, vocabulary: Path | None = None
) -> ConversionReport:
    """Convert an official GLIP checkpoint.

    Args:
        src: the .pth file; only tensors are read from it, no code is run.
        out: a .safetensors file, or a folder that receives `model.safetensors` and `config.json`.
        config: its architecture, where it is none of the published ones.
        vocabulary: BERT's `vocab.txt`; by default the one beside `src`, else the hub's.

    Raises:
        ModelError: the file is no GLIP checkpoint, holds a name that is unknown, or lacks one; or `out`
            cannot be written.
    """
    official = read_checkpoint(src)
    config = config or recognise(official)
    weights = {name: tensor.float() for name, tensor in to_ours(official, config).items()}
    _check(weights, config, src)
    pieces = read_vocabulary(vocabulary or find_vocabulary(src))
    if len(pieces) != config.vocabulary:
        raise ModelError(
            f"the vocabulary has {len(pieces)} word pieces, but the checkpoint has {config.vocabulary}"
        )
    target = out if out.suffix == ".safetensors" else out / "model.safetensors"
    fingerprint = ModelFile(config, tuple(pieces), weights).save(target)
    if target != out:
        settings = '{"model_type": "glip", ' + config.to_json().removeprefix("{")
        (out / "config.json").write_text(settings + "\n", encoding="utf-8")
    count = sum(tensor.numel() for tensor in weights.values())
    return ConversionReport(src, target, config, len(weights), count, dropped_names(official), fingerprint)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's `model`, without their `module.` prefix.

    Raises:
        ModelError: the file cannot be read as tensors alone, or holds no model.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickle protocols; what cannot be read fails anyway
            mapped = zipfile.is_zipfile(path)
            content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError as error:
        raise ModelError(
            f"cannot read {path}: {error.strerror or error}; give an official GLIP .pth file"
        ) from error
    except Exception as error:  # a reader of pickles that is fed with something else may raise anything
        raise ModelError(
            f"{path} cannot be read safely: it is damaged, or holds more than tensors "
            f"({type(error).__name__}); give an official GLIP .pth file"
        ) from error
    model = content.get("model", content) if isinstance(content, Mapping) else None
    if not model or not all(isinstance(tensor, Tensor) for tensor in model.values()):
        raise ModelError(f"{path} holds no model; expected an official GLIP .pth file with 'model' in it")
    return without_prefix(model)


def recognise(official: Mapping[str, Tensor]) -> GlipConfig:
    """Return the published architecture that `official` has.

    Raises:
        ModelError: it has none of them.
    """
    blocks = {
        int(found[1]) for name in official if (found := re.match(r"rpn\.head\.dyhead_tower\.(\d+)\.", name))
    }
    fusion = any(".b_attn." in name for name in official)
    stem = official.get("backbone.body.patch_embed.proj.weight")
    for known in PUBLISHED.values():
        layers = known.config.blocks * (3 if known.config.fusion else 1)
        if stem is not None and (fusion, len(stem), len(blocks)) == (
            known.config.fusion,
            known.config.swin_dim,
            layers,
        ):
            return known.config
    raise ModelError("the checkpoint is none of the published GLIP models (glip-t-a, -b, -c, glip-t, glip-l)")


def find_vocabulary(src: Path) -> Path:
    """Return the `vocab.txt` beside `src`, else the one of bert-base-uncased from the hub or its cache.

    Raises:
        ModelError: there is none.
    """
    beside = src.with_name("vocab.txt")
    return beside if beside.is_file() else fetch(BERT, "vocab.txt")


def _check(weights: Mapping[str, Tensor], config: GlipConfig, src: Path) -> None:
    """Compare names and shapes with the network's, built without memory."""
    with torch.device("meta"):
        expected = GlipNetwork(config).state_dict()
    missing = sorted(expected.keys() - weights.keys())
    unknown = sorted(weights.keys() - expected.keys())
    wrong = sorted(
        name for name in expected.keys() & weights.keys() if expected[name].shape != weights[name].shape
    )
    for what, names in (("lacks", missing), ("has too much:", unknown), ("has another shape of", wrong)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ModelError(f"{src} {what} {', '.join(names[:3])}{more}; give an official GLIP .pth file")
