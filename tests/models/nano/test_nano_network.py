"""The frozen network against the graph that it was converted from, and against itself in batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from groundstream.models.common.tensor_file import checksum, read_tensors, write_tensors
from groundstream.models.errors import ModelError
from groundstream.models.nano.config import SHIPPED, NanoConfig
from groundstream.models.nano.network import NanoNetwork

DATA = Path(__file__).parents[2] / "data" / "nano"
CONFIG = NanoConfig()


@pytest.fixture(scope="module")
def network() -> NanoNetwork:
    return NanoNetwork.from_tensors(read_tensors(SHIPPED), CONFIG)


@pytest.fixture(scope="module")
def street() -> torch.Tensor:
    """A frame of real people, (1, 3, 416, 416) normalised; the lower quarter is padding."""
    picture = torch.from_numpy(np.array(Image.open(DATA / "street.png"))).float()
    canvas = torch.zeros(1, 416, 416, 3)
    canvas[:, :312] = (picture - torch.tensor(CONFIG.mean_rgb)) / torch.tensor(CONFIG.std_rgb)
    return canvas.permute(0, 3, 1, 2)


def closed_set(network: NanoNetwork, x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return, per level, (B, N_l, 80) scores of the COCO names and (B, N_l, 44) distance logits.

    This is what the network was trained to say; `x` is (B, 3, H, W) normalised RGB.
    """
    features, head = network.head.region_features(network.backbone(x)), network.head
    return [
        ((region @ rows.T + bias).sigmoid(), distance(region))
        for region, rows, bias, distance in zip(
            features, head.names, head.names_bias, head.distances, strict=True
        )
    ]


@torch.inference_mode()
def test_outputs_equal_those_of_the_original_graph(network: NanoNetwork, street: torch.Tensor) -> None:
    reference = load_file(DATA / "reference.safetensors")
    scores, distances = (torch.cat(parts, 1)[0] for parts in zip(*closed_set(network, street), strict=True))
    cells = reference["cells"].long()
    assert reference["scores"].max() > 0.8  # the frame shows people
    assert (scores[cells] - reference["scores"]).abs().max() < 2e-6
    assert (distances[cells] - reference["distances"]).abs().max() < 5e-5


@torch.inference_mode()
def test_a_picture_in_a_batch_is_the_picture_alone(network: NanoNetwork, street: torch.Tensor) -> None:
    other = street.flip(3) * 0.5
    for alone, together in zip(
        closed_set(network, street), closed_set(network, torch.cat((other, street))), strict=True
    ):
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a[0], b[1], atol=2e-4, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize(("height", "width"), [(416, 416), (256, 416), (64, 32)])
def test_levels_have_the_strides_of_the_neck(network: NanoNetwork, height: int, width: int) -> None:
    levels = network.backbone(torch.zeros(2, 3, height, width))
    assert [tuple(level.shape) for level in levels] == [
        (2, 128, height // stride, width // stride) for stride in CONFIG.strides_px
    ]


def test_the_model_is_as_small_as_it_says() -> None:
    tensors = read_tensors(SHIPPED)
    assert sum(value.numel() for value in tensors.values()) <= 8_000_000
    assert SHIPPED.stat().st_size <= 16_000_000


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"a": torch.arange(8.0)})
    assert checksum(read_tensors(path)) == checksum({"a": torch.arange(8.0)})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged: checksum"):
        read_tensors(path)
    path.write_bytes(data[:20])
    with pytest.raises(ModelError, match="cannot be read"):
        read_tensors(path)
