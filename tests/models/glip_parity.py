"""Hold our GLIP against recorded numbers of the original, tensor by tensor.

Used by the tests with the small recordings in `tests/data/glip`; run by hand on a full recording:
`python tests/models/glip_parity.py FOLDER` prints the largest difference per stage.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from groundstream.models.glip.config import GlipConfig
from groundstream.models.glip.names import to_ours, without_prefix
from groundstream.models.glip.network import GlipNetwork, build_network

MINI = GlipConfig(
    swin_dim=24,
    swin_depths=(2, 2, 2, 2),
    swin_heads=(2, 4, 8, 16),
    channels=64,
    blocks=2,
    fusion_dim=128,
    fusion_heads=4,
    text_dim=64,
    text_layers=2,
    text_heads=4,
    text_hidden=128,
    vocabulary=206,
)


def load_network(folder: Path, config: GlipConfig) -> GlipNetwork:
    tensors = without_prefix(load_file(folder / "state.safetensors"))
    return build_network(config, to_ours(tensors, config))


def load_case(folder: Path, name: str) -> dict[str, Any]:
    """Read a case: the JSON tree with the tensors in their places."""
    tensors = load_file(folder / f"{name}.safetensors")

    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            return tensors[node["$tensor"]] if "$tensor" in node else {k: fill(v) for k, v in node.items()}
        return [fill(item) for item in node] if isinstance(node, list) else node

    case: dict[str, Any] = fill(json.loads((folder / f"{name}.json").read_text()))
    return case


class Tracer:
    """Records what the parts of a network return, under the names of the recordings."""

    def __init__(self, network: GlipNetwork) -> None:
        self.found: dict[str, Tensor] = {}
        self._calls: defaultdict[str, int] = defaultdict(int)
        self._hooks: list[Any] = []
        embeddings = network.vision.swin.swin.embeddings
        self._on(embeddings, lambda out: self._put("swin.patch_embed", _to_map(*out)))
        self._on(network.vision.swin, self._swin)
        self._on(network.vision.fpn, lambda out: self._levels("fpn.{}", out))
        for number, block in enumerate(network.head.blocks):
            self._block(number, block, len(network.head.blocks) and block.fused)

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _on(self, module: nn.Module, take: Callable[[Any], None]) -> None:
        self._hooks.append(module.register_forward_hook(lambda _m, _a, out: take(out)))

    def _put(self, name: str, value: Tensor) -> None:
        self.found[name] = value

    def _levels(self, name: str, levels: tuple[Tensor, ...]) -> None:
        for number, level in enumerate(levels):
            self._put(name.format(f"p{number + 3}"), level)

    def _swin(self, out: Any) -> None:
        for number, stage in enumerate(out.feature_maps):
            self._put(f"swin.stage{number + 2}", stage)

    def _count(self, name: str, value: Tensor) -> None:
        self._put(f"{name}.call{self._calls[name]}", value)
        self._calls[name] += 1

    def _block(self, number: int, block: nn.Module, fused: bool) -> None:
        index = 3 * number if fused else number
        if fused:
            self._on(block.fusion, lambda out: self._levels(f"tower.{index}.fuse.visual.{{}}", out[0]))
            self._on(block.fusion, lambda out: self._put(f"tower.{index}.fuse.hidden", out[1]))
            self._on(block.text, lambda out: self._put(f"tower.{index + 1}.bert.hidden", out))
        tower = f"tower.{index + 2 if fused else index}"
        self._on(block.image, lambda out: self._levels(f"{tower}.dyconv.visual.{{}}", out))
        inside, image = f"{tower}.inside", block.image
        self._on(image.offset, lambda out: self._count(f"{inside}.offset", out))
        for k, part in enumerate((image.from_coarser, image.from_same, image.from_finer)):
            self._on(part, lambda out, k=k: self._count(f"{inside}.DyConv{k}", out))
        self._on(image.attention, lambda out: self._count(f"{inside}.AttnConv", out.relu()))
        self._on(
            image.relu.fc,
            lambda out: self._count(f"{inside}.relu.fc", nn.functional.hardsigmoid(out)),
        )


def run_case(network: GlipNetwork, case: dict[str, Any]) -> dict[str, Tensor]:
    """Run the recorded input through the network; every tensor under its recorded name."""
    recorded = case["tensors"]
    length = int(recorded["lang.attention_mask"].sum(1).max())
    ids = recorded["lang.input_ids"][:, :length]
    mask = recorded["lang.attention_mask"][:, :length].bool()
    tracer = Tracer(network)
    with torch.inference_mode():
        levels = network.vision(case["images"])
        hidden = network.encode_tokens(ids, mask)
        out = network.head(levels, hidden, mask)
    tracer.close()
    found = tracer.found
    found["lang.hidden"] = hidden
    found["lang.embedded"] = hidden * mask[..., None]
    start = 0
    for number, (height, width) in enumerate(out.sizes):
        part, level = slice(start, start + height * width), f"p{number + 3}"
        found[f"head.bbox_reg.{level}"] = out.deltas[:, part].transpose(1, 2).unflatten(2, (height, width))
        found[f"head.centerness.{level}"] = out.centerness[:, part].view(-1, 1, height, width)
        found[f"head.dot_product_logits.{level}"] = out.logits[:, part]
        start += height * width
    return found


def differences(found: dict[str, Tensor], recorded: dict[str, Tensor], mask: Tensor) -> dict[str, float]:
    """Largest absolute difference per recorded tensor; token axes are compared on real tokens only."""
    result = {}
    for name in sorted(found.keys() & recorded.keys()):
        ours, theirs = found[name], recorded[name]
        length = mask.shape[1]
        if re.search(r"hidden|embedded", name):
            ours, theirs = ours[:, :length][mask], theirs[:, :length][mask]
        elif "logits" in name:
            real = mask[:, None].expand(-1, theirs.shape[1], -1)
            ours, theirs = ours[..., :length][real], theirs[..., :length][real]
        assert ours.shape == theirs.shape, (name, ours.shape, theirs.shape)
        result[name] = float((ours - theirs).abs().max())
    return result


def _to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, size)


def main(folder: Path) -> None:
    info = json.loads((folder / "info.json").read_text())
    config = MINI if info["variant"] == "mini" else GlipConfig(**{**MINI.__dict__, "fusion": False})
    network = load_network(folder, config)
    noise = json.loads((folder / "noise_fp32_vs_fp64.json").read_text())
    for name in info["cases"]:
        case = load_case(folder, f"case_{name}")
        found = run_case(network, case)
        mask = case["tensors"]["lang.attention_mask"].bool()
        mask = mask[:, : int(mask.sum(1).max())]
        stages: dict[str, tuple[float, float, float]] = {}
        deltas = differences(found, case["tensors"], mask)
        for tensor, delta in deltas.items():
            stage = re.sub(r"\.(p\d|call\d+)$", "", tensor)
            floor = noise[name].get(tensor, {}).get("max_abs", float("nan"))
            worst = stages.get(stage, (0.0, 0.0, 0.0))
            stages[stage] = (max(worst[0], delta), max(worst[1], floor), max(worst[2], delta / floor))
        print(f"{folder.name} {name}: {len(deltas)} of {len(case['tensors'])} tensors")
        for stage, (delta, floor, ratio) in stages.items():
            print(f"  {stage:38s} {delta:9.2e}  noise {floor:9.2e}  worst ratio {ratio:5.2f}")
        missing = case["tensors"].keys() - deltas.keys()
        print("  not compared:", ", ".join(sorted(missing)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
