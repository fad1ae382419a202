"""Where a model runs and in which number format, chosen from what the machine really has."""

from __future__ import annotations

import torch

from groundstream.models.errors import ModelError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` takes cuda, else xpu, else mps, else cpu.

    Raises:
        ModelError: torch does not know the device, or this machine does not have it.
    """
    if name == "auto":
        return torch.device(next((kind for kind in ("cuda", "xpu", "mps") if _has(kind)), "cpu"))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"unknown device '{name}'; use auto, cpu, cuda, cuda:1, xpu or mps") from error
    if not _has(device.type):
        raise ModelError(f"device '{name}' was asked for, but this machine has none; use --device auto")
    if device.index is not None and device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise ModelError(f"device '{name}' was asked for, but there are {torch.cuda.device_count()} GPUs")
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the number format called `name` (float32, bfloat16, float16; `auto` as `fast_dtype` says).

    Raises:
        ModelError: the format is unknown, or is float16 on a CPU, where it is slower than float32.
    """
    if name == "auto":
        return fast_dtype(device)
    full = _SHORT.get(name, name)
    if full not in DTYPES:
        raise ModelError(f"unknown dtype '{name}'; use auto, float32, bfloat16 or float16")
    if full == "float16" and device.type == "cpu":
        raise ModelError("float16 is no gain on a CPU; use --dtype auto, bfloat16 or float32")
    return DTYPES[full]


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the hardware multiplies it fast, float16 on older CUDA GPUs, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if device.type == "xpu":
        return torch.bfloat16
    if device.type == "cpu" and cpu_has_fast_bfloat16():
        return torch.bfloat16
    return torch.float32


def cpu_has_fast_bfloat16() -> bool:
    """Whether this processor has matrix (AMX) or vector (AVX512) instructions for bfloat16."""
    flags = torch.cpu.get_capabilities()
    return bool(flags.get("amx_bf16") or flags.get("avx512_bf16"))


def _has(kind: str) -> bool:
    if kind == "cpu":
        return True
    backend = getattr(torch, kind, None) if kind != "mps" else torch.backends.mps
    return backend is not None and bool(backend.is_available())
