"""What a training of the open branch is made of, read from a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

from groundstream.models.nano.open_branch import Scale
from training.nano.calibrate import PRIOR
from training.nano.names import NamesRecipe

UNSCALED = Scale(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class GrounderRecipe:
    """A training of the open branch.

    Attributes:
        bank: folder of the sprite bank (`training.data.fetch`).
        wordnet: folder with WordNet's noun files.
        folder: where files are kept between steps.
        files_objects, files_names: files of each kind.
        scenes_per_file: scenes in a file.
        processes: processes that render.
        restyle, solid: parts of the things whose style is changed, and that are made to look photographed.
        objects_epochs, objects_rate: training of what a thing is.
        rounds: trainings of names, one after the other.
        scale: shifts of the scores, see `Scale`; the first two are added to what is fitted.
        files_calibration: files of scenes that the concepts' biases are fitted on.
        crops: parts of each photograph of the bank's calibration set that they are fitted on.
        prior: how strongly biases are drawn towards 0.
        seed: of scenes, weights and order.
    """

    bank: Path
    wordnet: Path
    folder: Path
    files_objects: int = 13
    files_names: int = 100
    scenes_per_file: int = 200
    processes: int = 2
    restyle: float = 0.5
    solid: float = 0.0
    objects_epochs: int = 5
    objects_rate: float = 3e-3
    rounds: tuple[NamesRecipe, ...] = (NamesRecipe(),)
    scale: Scale = UNSCALED
    files_calibration: int = 8
    crops: int = 12
    prior: float = PRIOR
    seed: int = 21

    @classmethod
    def read(cls, path: Path) -> GrounderRecipe:
        """Read a recipe from a JSON file; paths in it are relative to the file.

        Raises:
            ValueError: a key is unknown or one of the three folders is missing.
        """
        given = json.loads(path.read_text())
        known = {each.name for each in fields(cls)}
        if unknown := sorted(given.keys() - known):
            raise ValueError(f"unknown keys {unknown} in {path}; expected some of {sorted(known)}")
        if missing := [name for name in ("bank", "wordnet", "folder") if name not in given]:
            raise ValueError(f"{path} must say where {missing} are")
        places = {name: path.parent / given[name] for name in ("bank", "wordnet", "folder")}
        rounds = tuple(NamesRecipe(**each) for each in given.get("rounds", [{}]))
        return cls(**given | places | {"rounds": rounds, "scale": Scale(*given.get("scale", UNSCALED))})
