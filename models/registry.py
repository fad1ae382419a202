"""Which models there are, by name, and how to load one. Families are imported only when one is asked for."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from groundstream.models.errors import ModelError

if TYPE_CHECKING:
    from groundstream.models.base import Grounder

#: family -> (module, class); every class has `from_name(name, *, device, dtype, size_px) -> Grounder`.
#: The names of transformers' families are the `model_type` of their `config.json`.
FAMILIES: dict[str, tuple[str, str]] = {
    "fake": ("groundstream.models.fake", "FakeGrounder"),
    "glip": ("groundstream.models.glip.grounder", "GlipGrounder"),
    "nano": ("groundstream.models.nano.grounder", "NanoGrounder"),
    "grounding-dino": ("groundstream.models.hf.grounding_dino", "GroundingDino"),
    "mm-grounding-dino": ("groundstream.models.hf.mm_grounding_dino", "MMGroundingDino"),
    "omdet-turbo": ("groundstream.models.hf.omdet_turbo", "OmDetTurbo"),
    "owlv2": ("groundstream.models.hf.owl", "Owlv2"),
    "owlvit": ("groundstream.models.hf.owl", "OwlViT"),
}


@dataclass(frozen=True)
class KnownModel:
    """A model that can be asked for by name.

    Attributes:
        name: what `--model` takes.
        family: key of `FAMILIES`.
        about: what it is, in a few words.
        licence: SPDX name of the weights' licence.
        hub: whether its files come from elsewhere; else they need no download.
    """

    name: str
    family: str
    about: str
    licence: str = "Apache-2.0"
    hub: bool = True


KNOWN: tuple[KnownModel, ...] = (
    KnownModel("glip-nano", "nano", "small, ships with groundstream, made for CPUs", hub=False),
    KnownModel("fake", "fake", "blobs of colour, for tests", hub=False),
    KnownModel("glip-t", "glip", "Swin-T, 232 M parameters; Objects365, GoldG, captions", "MIT"),
    KnownModel("glip-l", "glip", "Swin-L, 430 M parameters", "MIT"),
    KnownModel("glip-t-a", "glip", "Swin-T without fusion; Objects365", "MIT"),
    KnownModel("glip-t-b", "glip", "Swin-T; Objects365", "MIT"),
    KnownModel("glip-t-c", "glip", "Swin-T; Objects365, GoldG", "MIT"),
    KnownModel("IDEA-Research/grounding-dino-tiny", "grounding-dino", "Swin-T, 172 M parameters"),
    KnownModel("IDEA-Research/grounding-dino-base", "grounding-dino", "Swin-B, 233 M parameters"),
    KnownModel(
        "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det", "mm-grounding-dino", "Swin-T"
    ),
    KnownModel("openmmlab-community/mm_grounding_dino_base_all", "mm-grounding-dino", "Swin-B"),
    KnownModel("openmmlab-community/mm_grounding_dino_large_all", "mm-grounding-dino", "Swin-L"),
    KnownModel("google/owlvit-base-patch32", "owlvit", "ViT-B/32, 768 px, the fastest of these"),
    KnownModel("google/owlvit-base-patch16", "owlvit", "ViT-B/16, 768 px"),
    KnownModel("google/owlvit-large-patch14", "owlvit", "ViT-L/14, 840 px"),
    KnownModel("google/owlv2-base-patch16-ensemble", "owlv2", "ViT-B/16, 960 px"),
    KnownModel("google/owlv2-large-patch14-ensemble", "owlv2", "ViT-L/14, 1008 px"),
    KnownModel("omlab/omdet-turbo-swin-tiny-hf", "omdet-turbo", "Swin-T, 640 px"),
)


@dataclass(frozen=True)
class ModelRow:
    """One line of `groundstream models`.

    Attributes:
        name: what `--model` takes.
        family: key of `FAMILIES`.
        about: what it is, in a few words.
        licence: SPDX name of the weights' licence.
        where: "built in", the place of its files in a cache, or empty when they must be fetched.
    """

    name: str
    family: str
    about: str
    licence: str
    where: str


def list_models() -> list[ModelRow]:
    """Return every known model and where it is on this machine; imports no torch."""
    from groundstream.models.common.weights import cached_folder
    from groundstream.models.glip.hub import cached_model

    def where(model: KnownModel) -> str:
        if not model.hub:
            return "built in"
        return str((cached_model if model.family == "glip" else cached_folder)(model.name) or "")

    return [ModelRow(m.name, m.family, m.about, m.licence, where(m)) for m in KNOWN]


def load_grounder(
    name: str, *, device: str = "auto", dtype: str = "auto", size_px: int | None = None
) -> Grounder:
    """Load the model called `name`.

    Args:
        name: a known model, another hub name, or a local folder with `config.json` and weights.
        device: `auto` or what torch calls it (cpu, cuda, cuda:1, ...).
        dtype: `auto`, float32, bfloat16 or float16.
        size_px: short side of the picture in pixels, instead of the checkpoint's own.

    Raises:
        ModelError: there is no such model, it cannot be had, or it does not fit what is asked of it.
    """
    module, class_name = FAMILIES[find_family(name)]
    family = getattr(importlib.import_module(module), class_name)
    grounder: Grounder = family.from_name(name, device=device, dtype=dtype, size_px=size_px)
    return grounder


def find_family(name: str) -> str:
    """Return the family of the model called `name`: a known model's, else what its `config.json` says.

    Raises:
        ModelError: the name is neither known, nor a folder, nor on the hub, or the family is not ours.
    """
    known = {model.name: model.family for model in KNOWN}
    if name in known:
        return known[name]
    if name.endswith((".pth", ".safetensors")):
        return "glip"
    if "/" not in name and not Path(name).expanduser().exists():
        raise ModelError(f"unknown model '{name}'{_closest(name, known)}; `groundstream models` lists them")
    from groundstream.models.common.weights import find_folder, read_json

    folder = find_folder(name)
    family = str(read_json(folder / "config.json").get("model_type"))
    if family not in FAMILIES:
        raise ModelError(
            f"model '{name}' is of architecture '{family}', which is none of ours; expected one of "
            f"{', '.join(sorted(FAMILIES))}"
        )
    return family


def _closest(name: str, known: dict[str, str]) -> str:
    """Return ", did you mean ...?" for the known names that `name` is like, ignoring their owners."""
    short = {full.split("/")[-1].lower(): full for full in known}
    near = difflib.get_close_matches(name.lower(), short, n=2, cutoff=0.5)
    return f", did you mean {' or '.join(short[key] for key in near)}?" if near else ""
