"""Packed layers and the other shortcuts of glip-nano on a CPU against what they stand for."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from groundstream.models.nano.attributes import brighten, shrink_picture
from groundstream.models.nano.backbone import _pool
from groundstream.models.nano.grounder import NanoGrounder
from groundstream.models.nano.packed import Conv, Linear, can_pack, pack

CPU = torch.device("cpu")
#: largest difference relative to the largest number: the packed layer rounds once, the plain one twice.
NOISE = {torch.float32: 1e-5, torch.bfloat16: 2**-7}
formats = pytest.mark.parametrize("dtype", list(NOISE), ids=str)


def skip_without_packing(dtype: torch.dtype) -> None:
    if not can_pack(CPU, dtype):
        pytest.skip(f"this torch, or this processor, packs no {dtype}")


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    limit = NOISE[expected.dtype] * float(expected.float().abs().max())
    torch.testing.assert_close(found.float(), expected.float(), atol=limit, rtol=0)


@formats
@pytest.mark.parametrize(
    ("channels_in", "channels_out", "side", "stride", "leak"),
    [(3, 32, 3, 2, 0.1), (32, 16, 3, 1, 0.1), (64, 24, 1, 1, 1.0)],
)
@pytest.mark.parametrize("size", [(1, 32, 64), (3, 64, 32), (1, 416, 416)])
@torch.inference_mode()
def test_a_packed_convolution_is_the_plain_one(
    dtype: torch.dtype,
    channels_in: int,
    channels_out: int,
    side: int,
    stride: int,
    leak: float,
    size: tuple[int, int, int],
) -> None:
    skip_without_packing(dtype)
    torch.manual_seed(0)
    layer = Conv(channels_in, channels_out, side, stride, leak).to(dtype)
    x = torch.randn(size[0], channels_in, *size[1:]).to(dtype).to(memory_format=torch.channels_last)
    expected = layer(x)
    pack(layer)
    assert layer._packed is not None
    found = layer(x)
    assert_near(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


@formats
@torch.inference_mode()
def test_a_packed_linear_layer_is_the_plain_one(dtype: torch.dtype) -> None:
    skip_without_packing(dtype)
    torch.manual_seed(0)
    layer = Linear(600, 64).to(dtype)
    x = torch.randn(50, 600)
    expected = layer.rectified(x)
    assert torch.equal(expected, layer(x.to(dtype)).relu())
    pack(layer)
    assert layer._packed is not None
    assert_near(layer.rectified(x), expected)
    assert_near(layer.rectified(x[:1]), expected[:1])
    assert layer.rectified(x[:0]).shape == (0, 64)


def test_packing_leaves_gradients_and_the_state_alone() -> None:
    layer = Conv(3, 4, 3, 1, 0.1)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    pack(layer)
    assert {name: value.tolist() for name, value in layer.state_dict().items()} == {
        name: value.tolist() for name, value in before.items()
    }
    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_weights_that_move_are_packed_anew() -> None:
    skip_without_packing(torch.float32)
    layer = Conv(3, 4)
    pack(layer)
    assert layer._packed is not None
    assert layer.to(torch.float64)._packed is None
    pack(layer)
    assert layer._packed is None  # a number format that is not packed


def test_only_a_processor_packs() -> None:
    assert not can_pack(torch.device("cuda"), torch.bfloat16)
    assert not can_pack(CPU, torch.float16)


@formats
@pytest.mark.parametrize("size", [(2, 2), (8, 12), (64, 32)])
@torch.inference_mode()
def test_the_pool_is_torchs_own(dtype: torch.dtype, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, *size).to(dtype).to(memory_format=torch.channels_last)
    assert torch.equal(_pool(x), F.max_pool2d(x, 3, 2, 1))


def test_the_small_picture_is_the_mean_of_its_pixels() -> None:
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (2, 8, 12, 3), dtype=torch.uint8)
    expected = F.avg_pool2d(pixels.permute(0, 3, 1, 2).float() / 255, 4)
    torch.testing.assert_close(shrink_picture(pixels, 4), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (50, 40)])
def test_the_lightest_pixels_are_a_quantile(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    picture = torch.rand(3, *size) * 0.5 + 0.4
    lightest = picture[:, ::2, ::2].amax(0).flatten().quantile(0.97).clamp(min=0.5)
    torch.testing.assert_close(brighten(picture), (picture / lightest).clamp(max=1))


@torch.inference_mode()
@pytest.mark.parametrize("size", [(416, 416), (256, 416), (64, 32)])
def test_packed_features_are_the_plain_ones(size: tuple[int, int]) -> None:
    grounder = NanoGrounder.from_name("glip-nano", device="cpu", dtype="float32")
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    packed = grounder.encode_image(pixels, torch.tensor([size] * 2)).levels
    grounder._network.to("cpu")  # forgets the packed copies
    grounder._open.head.to("cpu")
    for one, other in zip(
        packed, grounder.encode_image(pixels, torch.tensor([size] * 2)).levels, strict=True
    ):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)
