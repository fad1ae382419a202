"""Layers of transformers, run on its weights in ways that cost less."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import QuickGELUActivation

#: rows that a feed-forward layer takes at once on a CPU: what lies between its products stays in the cache.
CPU_ROWS = 1024
#: the factor in quick GELU, x * sigmoid(1.702 x).
QUICK_GELU = 1.702


def multihead(
    module: Any, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None = None
) -> Tensor:
    """Run transformers' `*MultiheadAttention` module with fused attention.

    Args:
        module: with `query`, `key`, `value`, `out_proj`.
        queries: (B, Q, C).
        keys, values: (B, K, C).
        seen: bool, broadcastable to (B, heads, Q, K), False where a key is not seen.

    Returns:
        (B, Q, C).
    """
    size = (module.num_attention_heads, module.attention_head_size)
    q, k, v = (
        part(given).unflatten(2, size).transpose(1, 2)
        for part, given in ((module.query, queries), (module.key, keys), (module.value, values))
    )
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    output: Tensor = module.out_proj(found.transpose(1, 2).flatten(2))
    return output


def feed_forward(first: Any, activation: Any, second: Any, x: Tensor) -> Tensor:
    """Return `second(activation(first(x)))` for (B, N, C) features.

    With a wide middle most of the time goes into writing and reading it; on a CPU it is therefore made and
    used up in runs of rows.
    """
    rows = CPU_ROWS if x.device.type == "cpu" else x.shape[1]
    parts = []
    for part in torch.split(x, rows, dim=1):
        middle = first(part)
        parts.append(second(middle.relu_() if isinstance(activation, nn.ReLU) else activation(middle)))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def fold_quick_gelu(mlp: Any) -> None:
    """Change a CLIP-like feed-forward layer in place so that one SiLU does what quick GELU does.

    x * sigmoid(1.702 x) = silu(1.702 x) / 1.702, so the factor goes into the weights on either side.
    """
    if isinstance(mlp.activation_fn, QuickGELUActivation):
        mlp.fc1.weight.data.mul_(QUICK_GELU)
        mlp.fc1.bias.data.mul_(QUICK_GELU)
        mlp.fc2.weight.data.div_(QUICK_GELU)
        mlp.activation_fn = nn.SiLU(inplace=True)


class PatchProduct(nn.Module):
    """A convolution without bias whose stride is its kernel, as one matrix product.

    Args:
        convolution: the convolution whose weights are taken over.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        if convolution.stride != convolution.kernel_size or convolution.bias is not None:
            raise ValueError(f"expected a convolution without bias and overlap, but got {convolution}")
        self.size = convolution.kernel_size
        self.weight = nn.Parameter(convolution.weight.permute(0, 2, 3, 1).flatten(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H/h, W/w) features of (B, 3, H, W) pictures; what is left at the rim is dropped."""
        high, wide = self.size
        rows, columns = x.shape[2] // high, x.shape[3] // wide
        x = x[:, :, : rows * high, : columns * wide].permute(
            0, 2, 3, 1
        )  # contiguous for channels-last pixels
        patches = x.reshape(len(x), rows, high, columns, -1).transpose(2, 3).flatten(3)
        return F.linear(patches, self.weight).permute(0, 3, 1, 2)
