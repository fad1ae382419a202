"""Convolutions that keep a second copy of their weights in the order in which oneDNN multiplies them.

Eager torch brings the weights of a convolution into oneDNN's order at every call, and runs the rectifier as a
pass of its own. Both together take longer than the arithmetic of a small network. A packed convolution does neither:
it calls the operators that torch's own compiler uses on Intel and AMD processors; no compiler is needed.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether this torch has the operators of packed convolutions, for `dtype` on `device`."""
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def pack(network: nn.Module) -> None:
    """Pack every convolution of `network` that can be; once it is frozen, on its device and in its number format."""
    for layer in network.modules():
        if isinstance(layer, Conv) and can_pack(layer.weight.device, layer.weight.dtype):
            layer.pack()


class Conv(nn.Conv2d):
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
        self._packed: Tensor | None = None
        self._how: tuple[Any, ...] = ()

    def pack(self) -> None:
        """Keep a copy of the weights in oneDNN's order; it is no part of the state."""
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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._packed = None  # the weights move, or change their format
        return super()._apply(fn, recurse)
