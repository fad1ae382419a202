"""What is found in a file does not depend on where it runs, what runs beside it, or on its batch."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coloured import make_coloured
from ray_runs import plain, ray_here

from groundstream.pipeline.api import open_pipeline

PHRASES = ["person", "white van", "car"]
SECONDS = 2.0
FRAMES = 20  # of so many seconds
CLIP = str(files("groundstream.configs") / "demo" / "street.mp4")


def records_of_clip(out: Path, others: list[dict[str, Any]], executor: str, batch: int) -> list[Any]:
    """Run the clip beside `others` and return its records."""
    streams = [*others[:3], {"source": CLIP, "id": "street", "end_s": SECONDS}, *others[3:]]
    with open_pipeline(
        [],
        PHRASES,
        model={"name": "glip-nano", "dtype": "float32", "device": "cpu", "max_batch": batch},
        streams=streams,
        executor=executor,
        ray={"detectors": 2},
        text_cache="none",
        output={"dir": out, "video": False},
    ) as pipeline:
        pipeline.run()
    return plain(out / "street" / "detections.jsonl" if others else out / "detections.jsonl")


@pytest.mark.slow
def test_records_are_equal_alone_beside_others_in_one_process_and_under_ray(tmp_path: Path) -> None:
    small = str(make_coloured(tmp_path / "small.mp4", frames=20))
    others: list[dict[str, Any]] = [
        {"source": CLIP, "id": f"other{number}", "start_s": number / 2, "end_s": number / 2 + SECONDS}
        for number in range(5)
    ]
    others += [{"source": small, "id": "small1"}, {"source": small, "id": "small2", "phrases": ["blue bus"]}]
    alone = records_of_clip(tmp_path / "1", [], "local", batch=1)
    assert len(alone) == FRAMES
    assert sum(len(record["objects"]) for record in alone) > FRAMES
    with ray_here():
        assert records_of_clip(tmp_path / "2", others, "ray", batch=1) == alone
        assert_equal_but_rounding(records_of_clip(tmp_path / "3", others, "ray", batch=4), alone)
    assert_equal_but_rounding(records_of_clip(tmp_path / "4", others, "local", batch=4), alone)


def assert_equal_but_rounding(records: list[Any], expected: list[Any]) -> None:
    """Compare all but the last digit of pixels and scores.

    A convolution takes one picture by another way than several; what comes out differs by 3e-5 pixels and
    3e-7 of score at most, which now and then falls on two sides of a rounding.
    """
    assert len(records) == len(expected)
    for record, wanted in zip(records, expected, strict=True):
        numbers, rest = apart(record)
        wanted_numbers, wanted_rest = apart(wanted)
        assert rest == wanted_rest
        for key, limit in (("box", 0.0101), ("box_norm", 1.01e-6), ("score", 1.01e-4), ("phrases", 1.01e-4)):
            np.testing.assert_allclose(numbers[key], wanted_numbers[key], rtol=0, atol=limit)


def apart(record: dict[str, Any]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Return the measured numbers of a record, and all the rest."""
    found = record["objects"]
    numbers = {key: [each[key] for each in found] for key in ("box", "box_norm", "score")}
    numbers["phrases"] = [entry["score"] for each in found for entry in each["phrases"]]
    rest = [
        {key: value for key, value in each.items() if key not in ("box", "box_norm", "score", "phrases")}
        | {"phrases": [entry["phrase"] for entry in each["phrases"]]}
        for each in found
    ]
    return numbers, record | {"objects": rest}
