"""`--adapter` from the command line to the records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from coloured import groundstream, records_of

from groundstream.models.registry import load_grounder
from groundstream.models.temporal.cta import CTA, CTAConfig
from groundstream.models.temporal.file import save_adapter

CLIP = Path(__file__).parents[3] / "configs" / "demo" / "street.mp4"
NANO = ("-q", "person", "--batch", "1", "--dtype", "float32", "--end", "0.5")
PLAIN = ("--no-video", "--text-cache", "none", "--device", "cpu")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("adapters") / "untrained.safetensors"
    save_adapter(path, CTA(CTAConfig((192, 224, 256))), load_grounder("glip-nano", device="cpu"))
    return path


def run(out: Path, *options: str) -> list[dict[str, Any]]:
    done = groundstream("run", CLIP, *NANO, *PLAIN, *options, "--out", out)
    assert done.returncode == 0, done.stderr
    return records_of(out / "detections.jsonl")


def test_records_name_the_adapter(tmp_path: Path, untrained: Path) -> None:
    plain = run(tmp_path / "none")
    ema = run(tmp_path / "ema", "--adapter", "ema")
    cta = run(tmp_path / "cta", "--adapter", str(untrained))
    assert [records[-1]["model"]["adapter"] for records in (plain, ema)] == ["none", "ema"]
    assert cta[-1]["model"]["adapter"].startswith("cta-")
    objects = [[record["objects"] for record in records] for records in (plain, ema, cta)]
    assert any(objects[0])
    assert objects[2] == objects[0]  # an adapter before its training changes nothing
    assert objects[1] != objects[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "glip-nano", "--adapter", "ctr"), "unknown adapter 'ctr'; use cta, ema, none or a file"),
        (("--model", "fake", "--adapter", "ema"), "no features that an adapter could work on"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    done = groundstream("run", CLIP, "-q", "car", *PLAIN, *options, "--out", tmp_path)
    assert done.returncode == 4
    assert message in done.stderr
