"""Layers that keep a second copy of their weights in the order in which oneDNN multiplies them.

Eager torch brings the weights of a layer into oneDNN's order at every call, and runs the rectifier as a pass
of its own; in a small network that takes a third of the time. A packed layer does neither: it calls the
operators that torch's own compiler uses on Intel and AMD processors. No compiler is needed.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether this torch has the operators of packed layers, for `dtype` on `device`."""
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not available or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def pack(network: nn.Module) -> None:
    """Pack every layer of `network` that can be; its weights must be what they will stay."""
    for layer in network.modules():
        if isinstance(layer, (Conv, Linear)) and can_pack(layer.weight.device, layer.weight.dtype):
            layer.pack()


class _Packed(nn.Module):
    """A layer with a packed copy of its weights, which is no part of the state."""

    _packed: Tensor | None = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._packed = None  # the weights move, or change their format
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved


class Conv(_Packed, nn.Conv2d):
    """A convolution with bias that keeps the picture's size, or halves it, and ends in a leaky rectifier.

    Args:
        channels_in: channels of the input.
        channels_out: channels of the output.
        side: of the kernel, odd.
        stride: 1 or 2.
        leak: what the rectifier leaves of negative numbers; 1 for no rectifier.
    """

    def __init__(
        self, channels_in: int, channels_out: int, side: int = 1, stride: int = 1, leak: float = 1.0
    ) -> None:
        super().__init__(channels_in, channels_out, side, stride, padding=side // 2)
        self.leak = leak
        self._how: tuple[Any, ...] = ()

    def pack(self) -> None:
        """Keep a copy of the weights in oneDNN's order."""
        where = ([side // 2 for side in self.kernel_size], list(self.stride), [1, 1], 1)
        self._packed = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *where, None)
        after = ("none", [], "") if self.leak == 1 else ("leaky_relu", [self.leak], "")
        self._how = (*where, *after)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) to (B, channels_out, H / stride, W / stride)."""
        if self._packed is None or torch.is_grad_enabled():
            x = super().forward(x)
            return x if self.leak == 1 else F.leaky_relu_(x, self.leak)
        answer: Tensor = torch.ops.mkldnn._convolution_pointwise(x, self._packed, self.bias, *self._how)
        return answer


class Linear(_Packed, nn.Linear):
    """A linear layer with bias that can be joined with the rectifier behind it."""

    def pack(self) -> None:
        """Keep a copy of the weights in oneDNN's order."""
        self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, None)

    def rectified(self, x: Tensor) -> Tensor:
        """Map (N, features_in) of any number format to (N, features_out) of the layer's; none below zero."""
        x = x.to(self.weight.dtype)
        if self._packed is None or torch.is_grad_enabled() or not len(x):
            return super().forward(x).relu()
        answer: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "relu", [], "")
        return answer
