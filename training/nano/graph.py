"""A reader and interpreter for TF.js graph models: the reference that our own module is held against.

Only the operations that the NanoDet-g graph has are known; anything else is refused. Not used at run time.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from groundstream.models.errors import ModelError

DTYPES = {"float16": "<f2", "float32": "<f4", "int32": "<i4"}


@dataclass(frozen=True)
class Node:
    """One operation of the graph."""

    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def numbers(self, name: str) -> list[int]:
        """Return a list attribute as integers."""
        return [int(value) for value in self.attributes[name]["list"]["i"]]


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes by name, constants by name (float32 or int32), outputs in order."""

    nodes: Mapping[str, Node]
    constants: Mapping[str, Tensor]
    outputs: tuple[str, ...]

    def run(self, picture: Tensor, outputs: tuple[str, ...] | None = None) -> dict[str, Tensor]:
        """Evaluate the graph in float32 for `picture`, its (1, 3, 416, 416) input; return named outputs."""
        values: dict[str, tuple[Tensor, ...]] = {name: (value,) for name, value in self.constants.items()}

        def value_of(reference: str) -> Tensor:
            name, _, number = reference.partition(":")
            if name not in values:
                node = self.nodes[name]
                given = [picture] if node.op == "Placeholder" else [value_of(i) for i in node.inputs]
                values[name] = evaluate(node, given)
            return values[name][int(number or 0)]

        return {name: value_of(name) for name in outputs or self.outputs}


def read_graph(topology: Path) -> Graph:
    """Read `topology` (JSON) and the weight file that it names, from the same folder.

    Raises:
        ModelError: the weight file's length does not fit, or an operation or number format is unknown.
    """
    model = json.loads(topology.read_text())
    (group,) = model["weightsManifest"]
    data = b"".join((topology.parent / path).read_bytes() for path in group["paths"])
    constants, start = {}, 0
    for weight in group["weights"]:
        stored = np.dtype(DTYPES[weight.get("quantization", {}).get("dtype", weight["dtype"])])
        count = int(np.prod(weight["shape"]))
        array = np.frombuffer(data, stored, count, start).reshape(weight["shape"])
        constants[weight["name"]] = torch.from_numpy(array.astype(DTYPES[weight["dtype"]]))
        start += array.nbytes
    if start != len(data):
        raise ModelError(
            f"{topology}: expected {start} bytes of weights, but the file has {len(data)}; fetch it again"
        )
    nodes = {
        node["name"]: Node(node["op"], tuple(node.get("input", ())), node.get("attr", {}))
        for node in model["modelTopology"]["node"]
    }
    if unknown := {node.op for node in nodes.values()} - set(OPERATIONS) - {"Const"}:
        raise ModelError(
            f"{topology}: operations {sorted(unknown)} are not known; expected a NanoDet-g graph"
        )
    return Graph(nodes, constants, tuple(name.split(":")[0] for name in model["signature"]["outputs"]))


def evaluate(node: Node, given: list[Tensor]) -> tuple[Tensor, ...]:
    """Evaluate one operation."""
    result = OPERATIONS[node.op](node, given)
    return result if isinstance(result, tuple) else (result,)


def _pad(_: Node, given: list[Tensor]) -> Tensor:
    pairs = given[1].flip(0).flatten().tolist()  # torch counts dimensions from the last
    return F.pad(given[0], pairs, value=given[2].item() if len(given) > 2 else 0.0)


def _convolution(node: Node, given: list[Tensor]) -> Tensor:
    _require_valid(node)
    kernel = given[1].permute(3, 2, 0, 1)  # HWIO -> OIHW
    return F.conv2d(given[0].permute(0, 3, 1, 2), kernel, stride=node.numbers("strides")[1:3]).permute(
        0, 2, 3, 1
    )


def _max_pool(node: Node, given: list[Tensor]) -> Tensor:
    _require_valid(node)
    sides, strides = node.numbers("ksize")[1:3], node.numbers("strides")[1:3]
    return F.max_pool2d(given[0].permute(0, 3, 1, 2), sides, strides).permute(0, 2, 3, 1)


def _resize(node: Node, given: list[Tensor]) -> Tensor:
    assert node.attributes["half_pixel_centers"]["b"]
    size = given[1].tolist()
    return F.interpolate(given[0].permute(0, 3, 1, 2), size, mode="bilinear").permute(0, 2, 3, 1)


def _dense(_: Node, given: list[Tensor]) -> Tensor:
    places, shape, values, default = given
    dense = torch.full(tuple(shape.tolist()), int(default), dtype=torch.int32)
    dense[tuple(places.long().T)] = values
    return dense


def _require_valid(node: Node) -> None:
    padding = base64.b64decode(node.attributes["padding"]["s"]).decode()
    if padding != "VALID":
        raise ModelError(f"{node.op} with {padding} padding is not known; expected a NanoDet-g graph")


OPERATIONS: dict[str, Callable[[Node, list[Tensor]], Tensor | tuple[Tensor, ...]]] = {
    "Placeholder": lambda _, x: x[0],
    "Identity": lambda _, x: x[0],
    "Pad": _pad,
    "PadV2": _pad,
    "Conv2D": _convolution,
    "MaxPool": _max_pool,
    "ResizeBilinear": _resize,
    "SparseToDense": _dense,
    "Add": lambda _, x: x[0] + x[1],
    "AddV2": lambda _, x: x[0] + x[1],
    "LeakyRelu": lambda node, x: F.leaky_relu(x[0], node.attributes["alpha"]["f"]),
    "Transpose": lambda _, x: x[0].permute(x[1].tolist()),
    "ConcatV2": lambda _, x: torch.cat(x[:-1], int(x[-1])),
    "SplitV": lambda _, x: torch.split(x[0], x[1].tolist(), int(x[2])),
    "Sigmoid": lambda _, x: torch.sigmoid(x[0]),
    "Reshape": lambda _, x: x[0].reshape(x[1].tolist()),
}
