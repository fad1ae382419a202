from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hf_tiny import FAMILIES as TRANSFORMERS
from hf_tiny import save_checkpoint
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import get_size_with_aspect_ratio

from groundstream.models.errors import ModelError
from groundstream.models.registry import FAMILIES, KNOWN, find_family, list_models, load_grounder
from groundstream.models.types import SizeRule


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("owlvit-base-patch32", "did you mean google/owlvit-base-patch32"),
        ("grounding-dino-tiny", "did you mean IDEA-Research/grounding-dino-tiny"),
        ("fakee", r"did you mean fake\?; `groundstream models` lists them"),
        ("zzz", "unknown model 'zzz'; `groundstream models`"),
    ],
)
def test_unknown_names_get_the_closest(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        find_family(name)


def test_file_instead_of_folder(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    with pytest.raises(ModelError, match="is a file; give the folder"):
        find_family(str(tmp_path / "model.bin"))


@pytest.mark.parametrize("name", ["./nothing", "/nothing/here", "a/b/c"])
def test_path_that_is_not_there(name: str) -> None:
    with pytest.raises(ModelError, match="neither a folder on this machine nor a hub name like OWNER/MODEL"):
        find_family(name)


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_folder_is_loaded_by_its_architecture(tmp_path: Path, family: str) -> None:
    folder = save_checkpoint(family, tmp_path)
    assert find_family(str(folder)) == family
    assert load_grounder(str(folder), device="cpu").info.family == family


def test_wrong_class_for_a_folder(tmp_path: Path) -> None:
    from groundstream.models.hf.owl import OwlViT

    folder = save_checkpoint("owlv2", tmp_path)
    with pytest.raises(ModelError, match="is of family 'owlv2', but 'owlvit' was expected"):
        OwlViT.from_name(str(folder))


@pytest.mark.parametrize("family", ["grounding-dino", "mm-grounding-dino"])
def test_size_of_short_side_models(tmp_path: Path, family: str) -> None:
    folder = str(save_checkpoint(family, tmp_path))
    rule = load_grounder(folder, device="cpu").size_rule
    assert (rule.kind, rule.height_px, rule.width_px) == ("short_side", 96, 160)
    rule = load_grounder(folder, device="cpu", size_px=192).size_rule
    assert (rule.height_px, rule.width_px) == (192, 320)
    with pytest.raises(ModelError, match="at least 64 pixels, but got 10"):
        load_grounder(folder, device="cpu", size_px=10)


@pytest.mark.parametrize(
    ("family", "kind"), [("owlvit", "stretch"), ("owlv2", "fit"), ("omdet-turbo", "stretch")]
)
def test_models_of_one_size_refuse_another(tmp_path: Path, family: str, kind: str) -> None:
    folder = str(save_checkpoint(family, tmp_path))
    rule = load_grounder(folder, device="cpu").size_rule
    assert rule.kind == kind
    assert rule.height_px == rule.width_px
    assert load_grounder(folder, device="cpu", size_px=rule.height_px).size_rule == rule
    with pytest.raises(ModelError, match="a size of 500 was asked for"):
        load_grounder(folder, device="cpu", size_px=500)


def test_known_models_belong_to_families() -> None:
    assert {model.family for model in KNOWN} <= set(FAMILIES)
    assert len({model.name for model in KNOWN}) == len(KNOWN)


def test_rows_say_where_a_model_is() -> None:
    rows = {row.name: row for row in list_models()}
    assert rows["fake"].where == "built in"
    for name, row in rows.items():
        assert row.where in ("", "built in") or Path(row.where).is_dir(), name


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys; from groundstream.models.registry import list_models; list_models();"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("size", [{"shortest_edge": 200, "longest_edge": 333}, 200])
def test_processor_as_older_and_newer_versions_write_it(tmp_path: Path, size: object) -> None:
    folder = save_checkpoint("grounding-dino", tmp_path)
    settings = {"size": size, "max_size": 333, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    older = load_grounder(str(folder), device="cpu")
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    newer = load_grounder(str(folder), device="cpu")
    assert older.size_rule == newer.size_rule == SizeRule("short_side", 200, 333)


def test_short_side_rule_equals_transformers() -> None:
    rule = SizeRule("short_side", 800, 1333)
    numbers = random.Random(0)
    sizes = [(numbers.randint(40, 3000), numbers.randint(40, 3000)) for _ in range(3000)]
    for height, width in [(1080, 1920), (480, 640), (800, 800), (1920, 1080), *sizes]:
        expected = get_size_with_aspect_ratio((height, width), 800, 1333)
        if expected != (height, width):  # transformers leaves those alone, even a few pixels over the limit
            assert rule.plan(height, width).content_px == expected, (height, width)
