"""Sizes and pixels against the original's."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from glip_parity import DATA
from safetensors.torch import load_file

from groundstream.models.common.preprocess import normalize
from groundstream.models.glip.grounder import BGR, size_rule
from groundstream.models.types import SizeRule

RECORDED: dict[str, Any] = json.loads((DATA / "preprocess.json").read_text())


@pytest.mark.parametrize("case", RECORDED["sizes"], ids=lambda case: "x".join(map(str, case["wh"])))
def test_sizes(case: dict[str, Any]) -> None:
    width, height = case["wh"]
    plan = size_rule(800).plan(height, width)
    assert list(plan.content_px) == case["out_hw"]
    assert all(
        side % 32 == 0 and 0 <= side - inner < 32
        for side, inner in zip(plan.canvas_px, plan.content_px, strict=True)
    )


@pytest.mark.parametrize("number", range(len(RECORDED["samples"])))
def test_pixels_after_resize_and_normalisation(number: int) -> None:
    image = pytest.importorskip("PIL.Image")
    sample, tensors = RECORDED["samples"][number], load_file(DATA / "preprocess.safetensors")
    rgb, expected = (tensors[sample[key]["$tensor"]] for key in ("rgb", "out"))
    rule = SizeRule("short_side", sample["min_size"], sample["max_size"], whole_short_side=True)
    height, width = rule.plan(*rgb.shape[:2]).content_px
    resized = np.asarray(image.fromarray(rgb.numpy()).resize((width, height), image.Resampling.BILINEAR))
    pixels = torch.from_numpy(resized.copy())[None]
    ours = normalize(
        pixels.flip(-1), torch.tensor([[height, width]]), BGR, torch.device("cpu"), torch.float32
    )
    torch.testing.assert_close(ours[0], expected, atol=1e-5, rtol=0)


def test_padding_is_zero_after_normalisation() -> None:
    pixels = torch.full((1, 4, 6, 3), 77, dtype=torch.uint8)
    ours = normalize(pixels.flip(-1), torch.tensor([[3, 5]]), BGR, torch.device("cpu"), torch.float32)
    assert (ours[0, :, 3:] == 0).all()
    assert (ours[0, :, :, 5:] == 0).all()
    assert (ours[0, :, :3, :5] != 0).all()
