from __future__ import annotations

import pytest
import torch

from groundstream.models.common import device as module
from groundstream.models.common.device import choose_device, choose_dtype, cpu_has_fast_bfloat16
from groundstream.models.errors import ModelError

CPU = torch.device("cpu")


def test_cpu_is_there() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in ("cpu", "cuda", "xpu", "mps")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", ""])
def test_unknown_device(name: str) -> None:
    with pytest.raises(ModelError, match=r"unknown device .* use auto"):
        choose_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_device_that_is_not_here() -> None:
    with pytest.raises(ModelError, match="'cuda' was asked for, but this machine has none"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("float32", torch.float32),
        ("fp32", torch.float32),
        ("bf16", torch.bfloat16),
        ("bfloat16", torch.bfloat16),
    ],
)
def test_named_dtypes(name: str, dtype: torch.dtype) -> None:
    assert choose_dtype(name, CPU) is dtype


@pytest.mark.parametrize("name", ["float16", "fp16", "int8", ""])
def test_refused_dtypes(name: str) -> None:
    with pytest.raises(ModelError):
        choose_dtype(name, CPU)


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True}, torch.bfloat16),
        ({"avx512_f": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, bool], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(module.torch.cpu, "get_capabilities", lambda: flags)
    assert choose_dtype("auto", CPU) is dtype


def test_this_processor_is_asked_for_real() -> None:
    assert (
        cpu_has_fast_bfloat16() == torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16)])
def test_auto_follows_the_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(module.torch.cuda, "get_device_capability", lambda _: capability)
    assert choose_dtype("auto", torch.device("cuda")) is dtype
