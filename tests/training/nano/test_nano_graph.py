"""The reader of TF.js graphs, on a graph small enough to check by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from groundstream.models.errors import ModelError
from training.nano.graph import read_graph


def write_graph(
    folder: Path, nodes: list[dict[str, Any]], weights: dict[str, np.ndarray], spare: int = 0
) -> Path:
    manifest = [
        {"name": name, "shape": list(value.shape), "dtype": "float32", "quantization": {"dtype": "float16"}}
        if value.dtype == np.float32
        else {"name": name, "shape": list(value.shape), "dtype": "int32"}
        for name, value in weights.items()
    ]
    stored = [value.astype(np.float16) if value.dtype == np.float32 else value for value in weights.values()]
    (folder / "g.bin").write_bytes(b"".join(value.tobytes() for value in stored) + bytes(spare))
    constants = [{"name": name, "op": "Const"} for name in weights]
    model = {
        "modelTopology": {"node": [*constants, *nodes]},
        "weightsManifest": [{"paths": ["g.bin"], "weights": manifest}],
        "signature": {"outputs": {"out:0": {}}},
    }
    path = folder / "g.json"
    path.write_text(json.dumps(model))
    return path


def node(name: str, op: str, *inputs: str, **attributes: Any) -> dict[str, Any]:
    return {"name": name, "op": op, "input": list(inputs), "attr": attributes}


STRIDE_2 = {"padding": {"s": "VkFMSUQ="}, "strides": {"list": {"i": ["1", "2", "2", "1"]}}}  # VALID
CHAIN = [
    node("x", "Placeholder"),
    node("padded", "Pad", "x", "pads"),
    node("last", "Transpose", "padded", "to_last"),
    node("conv", "Conv2D", "last", "kernel", **STRIDE_2),
    node("sum", "Add", "conv", "bias"),
    node("leaky", "LeakyRelu", "sum", alpha={"f": 0.1}),
    node("parts", "SplitV", "leaky", "sizes", "axis"),
    node("squashed", "Sigmoid", "parts:1"),
    node("out", "Identity", "squashed"),
]
WEIGHTS = {
    "pads": np.array([[0, 0], [0, 0], [1, 1], [1, 1]], np.int32),
    "to_last": np.array([0, 2, 3, 1], np.int32),
    "kernel": np.linspace(-1, 1, 3 * 3 * 2 * 5, dtype=np.float32).reshape(3, 3, 2, 5),
    "bias": np.array([0, 1, 2, 3, 4], np.float32),
    "sizes": np.array([2, 3], np.int32),
    "axis": np.array(3, np.int32),
}


def test_a_chain_equals_torch(tmp_path: Path) -> None:
    graph = read_graph(write_graph(tmp_path, CHAIN, WEIGHTS))
    picture = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    kernel = torch.from_numpy(WEIGHTS["kernel"].astype(np.float16).astype(np.float32)).permute(3, 2, 0, 1)
    plain = torch.conv2d(picture, kernel, torch.arange(5.0), stride=2, padding=1)
    wanted = torch.nn.functional.leaky_relu(plain, 0.1)[:, 2:].sigmoid().permute(0, 2, 3, 1)
    torch.testing.assert_close(graph.run(picture)["out"], wanted)


def test_an_unknown_operation_is_refused(tmp_path: Path) -> None:
    path = write_graph(tmp_path, [*CHAIN, node("odd", "Softplus", "out")], WEIGHTS)
    with pytest.raises(ModelError, match="Softplus"):
        read_graph(path)


def test_other_padding_is_refused(tmp_path: Path) -> None:
    same = [
        n | {"attr": {**STRIDE_2, "padding": {"s": "U0FNRQ=="}}} if n["name"] == "conv" else n for n in CHAIN
    ]
    graph = read_graph(write_graph(tmp_path, same, WEIGHTS))
    with pytest.raises(ModelError, match="SAME padding"):
        graph.run(torch.zeros(1, 2, 6, 6))


def test_a_weight_file_of_another_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="bytes of weights"):
        read_graph(write_graph(tmp_path, CHAIN, WEIGHTS, spare=2))
