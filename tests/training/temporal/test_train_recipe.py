"""What the shipped adapter is trained on, read from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.temporal.train import TrainRecipe


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps = 7\nhalf_lives_s = [1.0]\n", TrainRecipe(steps=7, half_lives_s=(1.0,))),
        ("", TrainRecipe()),
    ],
)
def test_a_recipe_is_read_from_toml(tmp_path: Path, text: str, expected: TrainRecipe) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    assert TrainRecipe.read(path) == expected


def test_a_recipe_with_an_unknown_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("step = 7\n")
    with pytest.raises(ValueError, match="unknown step; expected some of"):
        TrainRecipe.read(path)
