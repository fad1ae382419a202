"""The whole network, and how weights get into it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import BertModel
from transformers.initialization import no_init_weights

from groundstream.models.errors import ModelError
from groundstream.models.glip.config import GlipConfig
from groundstream.models.glip.head import GlipHead, bert_config
from groundstream.models.glip.vision import VisionEncoder


class GlipNetwork(nn.Module):
    """The three parts of GLIP that run at different times: per frame, per prompt, and on both."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.vision = VisionEncoder(config)
        self.language = BertModel(bert_config(config), add_pooling_layer=False)
        self.head = GlipHead(config)

    def encode_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return (B, T, D) last hidden states of (B, T) token numbers under a (B, T) bool mask."""
        hidden: Tensor = self.language(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden


def build_network(config: GlipConfig, weights: Mapping[str, Tensor]) -> GlipNetwork:
    """Return the network of `config` with `weights` in it, for inference.

    Raises:
        ModelError: a weight is missing, unknown, or of another shape.
    """
    with no_init_weights():
        network = GlipNetwork(config)
    try:
        network.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise ModelError(
            f"the weights do not fit the GLIP network of their configuration: {reason}"
        ) from error
    return network.eval().requires_grad_(False)


def prepare(network: GlipNetwork, device: torch.device, dtype: torch.dtype) -> GlipNetwork:
    """Move `network` to `device` in `dtype`, convolution kernels with channels last in memory."""
    network.to(device=device, dtype=dtype)
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network
