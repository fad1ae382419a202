"""The bank: object pictures with transparency (sprites) and photographs, packed into files that are mapped.

A folder holds `sprites.bin`, `photographs.bin` and `calibration.bin` (raw pixels, one picture after the
other) and a table beside each (`.tsv`) that says where every picture lies and what it shows. Mapped files are
shared by all worker processes and open in milliseconds. Splits decide who may see which picture; they depend
on names alone, so they are the same on every machine.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.scenes.vocabulary import is_novel, stable_fraction


@dataclass(frozen=True)
class Style:
    """How a set of pictures was made: its licence, and whether weights that ship may be trained on it."""

    licence: str
    training: bool = True


STYLES = {
    "fluent-3d": Style("MIT"),
    "fluent-flat": Style("MIT"),
    "noto": Style("Apache-2.0"),
    "twemoji": Style("CC-BY-4.0"),
    "clipart": Style("public domain"),
    "furniture-icon": Style("CC0-1.0 or CC-BY-3.0, see furniture.tsv"),
    "furniture-render": Style("CC0-1.0 or CC-BY-3.0, see furniture.tsv"),
    "drawn": Style("Apache-2.0"),
    "openmoji": Style("CC-BY-SA-4.0", training=False),
    "stamps": Style("GPL-2", training=False),
}
TRAINING_STYLES = frozenset(name for name, style in STYLES.items() if style.training)


@dataclass(frozen=True)
class Split:
    """Which pictures, names and photographs scenes may use.

    Attributes:
        name: part of the seed, so that two splits never draw the same scenes.
        training: whether weights are trained on it; then no evaluation-only style is allowed.
        styles: names in `STYLES`.
        names: all concepts, the "base" nine tenths, or the "novel" tenth.
        pictures: every picture, the "seen" nine tenths, or the "unseen" tenth of each style.
        photographs: the "seen" ones or those kept for evaluation.
    """

    name: str
    training: bool
    styles: frozenset[str]
    names: Literal["all", "base", "novel"] = "all"
    pictures: Literal["all", "seen", "unseen"] = "seen"
    photographs: Literal["seen", "unseen"] = "seen"

    def __post_init__(self) -> None:
        if unknown := self.styles - STYLES.keys():
            raise ValueError(f"unknown styles {sorted(unknown)}; expected some of {sorted(STYLES)}")
        forbidden = self.styles - TRAINING_STYLES
        if self.training and forbidden:
            raise ValueError(
                f"{sorted(forbidden)} may not be trained on (licence, and the unseen style is measured "
                f"on it); train on some of {sorted(TRAINING_STYLES)}"
            )

    def allows(self, style: str, key: str, concept: str) -> bool:
        """Say whether a sprite belongs to this split."""
        if style not in self.styles or not self.allows_name(concept):
            return False
        return self.pictures == "all" or (stable_fraction(f"{style}/{key}") < 0.1) == (
            self.pictures == "unseen"
        )

    def allows_name(self, concept: str) -> bool:
        """Say whether a concept may be shown and asked for."""
        return self.names == "all" or is_novel(concept) == (self.names == "novel")


TRAIN = Split("train", True, TRAINING_STYLES)
TRAIN_BASE = Split("train-base", True, TRAINING_STYLES, names="base")
UNSEEN_COMPOSITIONS = Split("unseen-compositions", False, TRAINING_STYLES, photographs="unseen")
UNSEEN_PICTURES = Split("unseen-pictures", False, TRAINING_STYLES, pictures="unseen", photographs="unseen")
UNSEEN_STYLE = Split("unseen-style", False, frozenset({"openmoji"}), pictures="all", photographs="unseen")
UNSEEN_PHOTOGRAPHS = Split(
    "unseen-photographs", False, frozenset({"stamps"}), pictures="all", photographs="unseen"
)
UNSEEN_NAMES = Split("unseen-names", False, TRAINING_STYLES, "novel", pictures="all", photographs="unseen")
SPLITS = {
    split.name: split
    for split in (
        TRAIN,
        TRAIN_BASE,
        UNSEEN_COMPOSITIONS,
        UNSEEN_PICTURES,
        UNSEEN_STYLE,
        UNSEEN_PHOTOGRAPHS,
        UNSEEN_NAMES,
    )
}


@dataclass(frozen=True, eq=False)
class Sprite:
    """An object's picture: `rgba` is (h, w, 4) uint8, cropped, colours not multiplied by alpha."""

    rgba: NDArray[np.uint8]
    style: str
    key: str
    concept: str


@dataclass(frozen=True, eq=False)
class Photograph:
    """A background: `rgb` is (h, w, 3) uint8; `contains` names concepts that may be seen in it."""

    rgb: NDArray[np.uint8]
    key: str
    unseen: bool
    contains: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Bank:
    """All sprites and photographs that a split allows.

    `calibration` are photographs that are never a background: scores are calibrated on them.
    """

    sprites: Sequence[Sprite]
    photographs: Sequence[Photograph]
    calibration: Sequence[Photograph] = ()

    @classmethod
    def open(cls, folder: Path) -> Bank:
        """Map the bank in `folder` (written by `training.data.fetch`).

        Raises:
            ValueError: there is no bank in the folder.
        """
        if not (folder / "sprites.tsv").exists():
            raise ValueError(
                f"no sprite bank in {folder}; make one with "
                f"`python -m training.data.fetch FOLDER` and give FOLDER/bank"
            )
        sprites = [
            Sprite(pixels, row["style"], row["key"], row["concept"])
            for pixels, row in _mapped(folder / "sprites", 4)
        ]
        photographs = [
            Photograph(
                pixels, row["key"], row["unseen"] == "True", tuple(filter(None, row["contains"].split("|")))
            )
            for pixels, row in _mapped(folder / "photographs", 3)
        ]
        calibration = [
            Photograph(pixels, row["key"], False, tuple(filter(None, row["contains"].split("|"))))
            for pixels, row in _mapped(folder / "calibration", 3)
        ]
        return cls(sprites, photographs, calibration)

    def select(self, split: Split) -> Bank:
        """Return the part that `split` allows.

        Raises:
            ValueError: nothing is left.
        """
        sprites = [s for s in self.sprites if split.allows(s.style, s.key, s.concept)]
        if not sprites:
            raise ValueError(f"split {split.name!r} allows none of the bank's {len(self.sprites)} sprites")
        unseen = split.photographs == "unseen"
        return Bank(sprites, [p for p in self.photographs if p.unseen == unseen])


def _mapped(stem: Path, channels: int) -> Iterable[tuple[NDArray[np.uint8], dict[str, str]]]:
    if not stem.with_suffix(".tsv").exists():  # a bank packed before there were calibration pictures
        return
    with stem.with_suffix(".tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows:
        return
    pixels = np.memmap(stem.with_suffix(".bin"), np.uint8, "r")
    for row in rows:
        start, height, width = int(row["start"]), int(row["height"]), int(row["width"])
        size = height * width * channels
        yield pixels[start : start + size].reshape(height, width, channels), row


class BankWriter:
    """Writes a bank's files one picture at a time; use it in a `with` block."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._sprites = _Pile(folder / "sprites", ("style", "key", "concept"))
        self._photographs = _Pile(folder / "photographs", ("key", "unseen", "contains"))
        self._calibration = _Pile(folder / "calibration", ("key", "contains"))

    def __enter__(self) -> BankWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sprites.close()
        self._photographs.close()
        self._calibration.close()

    def add_sprite(self, rgba: NDArray[np.uint8], style: str, key: str, concept: str) -> None:
        """Append a sprite, (h, w, 4) uint8.

        Raises:
            ValueError: the style is not in `STYLES`.
        """
        if style not in STYLES:
            raise ValueError(f"unknown style {style!r}; expected one of {sorted(STYLES)}")
        self._sprites.add(rgba, style, key, concept)

    def add_photograph(self, rgb: NDArray[np.uint8], key: str, unseen: bool, contains: Sequence[str]) -> None:
        """Append a photograph, (h, w, 3) uint8."""
        self._photographs.add(rgb, key, str(unseen), "|".join(contains))

    def add_calibration(self, rgb: NDArray[np.uint8], key: str, contains: Sequence[str]) -> None:
        """Append a photograph that scores are calibrated on, (h, w, 3) uint8."""
        self._calibration.add(rgb, key, "|".join(contains))


class _Pile:
    def __init__(self, stem: Path, columns: tuple[str, ...]) -> None:
        self._bytes = stem.with_suffix(".bin").open("wb")
        self._table = stem.with_suffix(".tsv").open("w", encoding="utf-8", newline="")
        self._table.write("\t".join(("start", "height", "width", *columns)) + "\n")

    def add(self, pixels: NDArray[np.uint8], *facts: str) -> None:
        row = (str(self._bytes.tell()), str(pixels.shape[0]), str(pixels.shape[1]), *facts)
        self._table.write("\t".join(row) + "\n")
        self._bytes.write(np.ascontiguousarray(pixels).tobytes())

    def close(self) -> None:
        self._bytes.close()
        self._table.close()
