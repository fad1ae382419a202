"""Hold our GLIP against recorded numbers of the original, tensor by tensor.

The tests use it with the small recordings in `tests/data/glip`; on a full recording it prints the largest
difference of every stage: `python tests/models/glip_parity.py FOLDER...`
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from groundstream.models.glip.config import GlipConfig
from groundstream.models.glip.head import GlipHead, Levels, Predictions
from groundstream.models.glip.names import to_ours, without_prefix
from groundstream.models.glip.network import GlipNetwork, build_network
from groundstream.models.glip.postprocess import Found, anchors, find_boxes, find_candidates

DATA = Path(__file__).parents[1] / "data" / "glip"
#: The recorded network: GLIP-T (C) in small.
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
#: The same without fusion, as GLIP-T (A).
MINI_A = replace(MINI, fusion=False)


def official_weights(path: Path) -> dict[str, Tensor]:
    return without_prefix(load_file(path))


def load_case(folder: Path, name: str) -> dict[str, Any]:
    """Read a case: a JSON tree in which {"$tensor": NAME} stands for a tensor of the file beside it."""
    tensors = load_file(folder / f"case_{name}.safetensors")

    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            return tensors[node["$tensor"]] if "$tensor" in node else {k: fill(v) for k, v in node.items()}
        return [fill(item) for item in node] if isinstance(node, list) else node

    case: dict[str, Any] = fill(json.loads((folder / f"case_{name}.json").read_text()))
    return case


def recorded_text(case: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Return the recorded token numbers and their mask, cut to the longest caption."""
    mask = case["tensors"]["lang.attention_mask"].bool()
    length = int(mask.sum(1).max())
    return case["tensors"]["lang.input_ids"][:, :length], mask[:, :length]


def recorded_levels(case: dict[str, Any], name: str) -> Levels:
    return tuple(case["tensors"][f"{name}.p{number}"] for number in range(3, 8))


def recorded_spans(case: dict[str, Any], picture: int) -> list[tuple[int, int]]:
    """Return each phrase's token range; in the recordings they are lists without gaps."""
    found = sorted((int(label), tokens) for label, tokens in case["positive_maps"][picture].items())
    assert all(tokens == list(range(tokens[0], tokens[-1] + 1)) for _, tokens in found)
    return [(tokens[0], tokens[-1] + 1) for _, tokens in found]


class Tracer:
    """Collects what the parts of a network return, under the names of the recordings."""

    def __init__(self) -> None:
        self.found: dict[str, Tensor] = {}
        self._calls: defaultdict[str, int] = defaultdict(int)

    def watch_vision(self, network: GlipNetwork) -> None:
        swin = network.vision.swin
        self._on(swin.swin.embeddings, lambda out: self._put("swin.patch_embed", _to_map(*out)))
        self._on(swin.swin.encoder.layers[0], lambda out: self._put("swin.stage1", out[1]))
        for number in (2, 3, 4):
            self._on(swin, lambda out, n=number: self._put(f"swin.stage{n}", out.feature_maps[n - 2]))
        self._on(network.vision.fpn, lambda out: self._levels("fpn", out))

    def watch_head(self, head: GlipHead) -> None:
        for number, block in enumerate(head.blocks):
            self._watch_block(3 * number if block.fused else number, block)
        self._on(head, self._predictions)

    def _watch_block(self, index: int, block: nn.Module) -> None:
        if block.fused:
            self._on(block.fusion, lambda out: self._levels(f"tower.{index}.fuse.visual", out[0]))
            self._on(block.fusion, lambda out: self._put(f"tower.{index}.fuse.hidden", out[1]))
            self._on(block.text, lambda out: self._put(f"tower.{index + 1}.bert.hidden", out))
        tower, image = f"tower.{index + 2 if block.fused else index}", block.image
        self._on(image, lambda out: self._levels(f"{tower}.dyconv.visual", out))
        self._on(image.offset, lambda out: self._count(f"{tower}.inside.offset", out))
        for k, part in enumerate((image.from_coarser, image.from_same, image.from_finer)):
            self._on(part, lambda out, k=k: self._count(f"{tower}.inside.DyConv{k}", out))
            self._on(part.conv, lambda out, k=k: self._count(f"{tower}.inside.DyConv{k}.conv", out))
        self._on(image.attention, lambda out: self._count(f"{tower}.inside.AttnConv", out.relu()))
        activate = nn.functional.hardsigmoid
        self._on(image.relu.fc, lambda out: self._count(f"{tower}.inside.relu.fc", activate(out)))

    def _on(self, module: nn.Module, take: Callable[[Any], None]) -> None:
        module.register_forward_hook(lambda _module, _inputs, out: take(out))

    def _put(self, name: str, value: Tensor) -> None:
        self.found[name] = value

    def _levels(self, name: str, levels: Levels) -> None:
        self.found.update({f"{name}.p{number + 3}": level for number, level in enumerate(levels)})

    def _count(self, name: str, value: Tensor) -> None:
        self._put(f"{name}.call{self._calls[name]}", value)
        self._calls[name] += 1

    def _predictions(self, out: Predictions) -> None:
        around = anchors(out.sizes, out.logits.device)
        start = 0
        for number, size in enumerate(out.sizes):
            part, level = slice(start, start + size[0] * size[1]), f"p{number + 3}"
            self._put(f"head.bbox_reg.{level}", _to_map(out.deltas[:, part], size))
            self._put(f"head.centerness.{level}", _to_map(out.centerness[:, part, None], size))
            self._put(f"head.dot_product_logits.{level}", out.logits[:, part])
            self._put(f"anchors.{level}", around[part])
            start = part.stop


def differences(found: dict[str, Tensor], recorded: dict[str, Tensor], mask: Tensor) -> dict[str, float]:
    """Return the largest difference of each tensor that both have, on real tokens where tokens count."""
    result = {}
    for name in sorted(found.keys() & recorded.keys()):
        ours, theirs = found[name], recorded[name]
        if "hidden" in name:
            ours, theirs = ours[mask], theirs[:, : mask.shape[1]][mask]
        elif "logits" in name:
            real = mask[:, None].expand(-1, theirs.shape[1], -1)
            ours, theirs = ours[real], theirs[..., : mask.shape[1]][real]
        assert ours.shape == theirs.shape, f"{name}: {tuple(ours.shape)}, recorded {tuple(theirs.shape)}"
        result[name] = float((ours - theirs).abs().max())
    return result


def allowed(name: str, noise: dict[str, float]) -> float:
    """Return ten times the recorded float noise of a tensor, or of its block where only that is known."""
    if "anchors" in name:
        return 0.0
    tower = name.split(".inside")[0]
    known = [noise[name]] if name in noise else [v for k, v in noise.items() if k.startswith(tower + ".")]
    return 10 * max(known)


def twins(found: Found, recorded: dict[str, Tensor]) -> int:
    """Return how many recorded boxes have one of ours within 0.05 px and 0.001 of score, same phrase."""
    near = (found.boxes[:, None] - recorded["boxes"]).abs().amax(2) < 0.05  # (ours, theirs)
    near &= (found.scores[:, None] - recorded["scores"]).abs() < 1e-3
    near &= found.phrases[:, None] + 1 == recorded["labels"]
    return int(near.any(0).sum())


def box_agreement(out: Predictions, case: dict[str, Any], picture: int) -> list[tuple[int, int, int]]:
    """Return (twins, ours, theirs) of the final boxes, then of the candidates of each level."""
    spans, (height, width) = recorded_spans(case, picture), case["image_sizes_hw"][picture]
    final, levels = case["final"][picture], case.get("per_level_candidates")
    pairs = [(find_boxes(out, picture, spans, (height, width), 0.0), final)]
    if levels:
        pairs += zip(find_candidates(out, picture, spans, (height, width)), levels[picture], strict=True)
    return [(twins(ours, theirs), len(ours.scores), len(theirs["scores"])) for ours, theirs in pairs]


def _to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, size)


@torch.inference_mode()
def report(folder: Path) -> None:
    info = json.loads((folder / "info.json").read_text())
    config = MINI_A if info["variant"].endswith("_a") else MINI
    noises = json.loads((folder / "noise_fp32_vs_fp64.json").read_text())
    for name in info["cases"]:
        network = build_network(config, to_ours(official_weights(folder / "state.safetensors"), config))
        case, tracer = load_case(folder, name), Tracer()
        tracer.watch_vision(network)
        tracer.watch_head(network.head)
        ids, mask = recorded_text(case)
        tracer.found["lang.hidden"] = network.encode_tokens(ids, mask)
        out = network.head(network.vision(case["images"]), tracer.found["lang.hidden"], mask)
        deltas = differences(tracer.found, case["tensors"], mask)
        noise = {k: v["max_abs"] for k, v in noises[name].items() if isinstance(v, dict)}
        print(f"\n{folder.name} {name}: {len(deltas)} tensors, largest difference / ten times the noise")
        stages = defaultdict(list)
        for tensor, delta in deltas.items():
            stage = re.sub(r"\.(p\d|call\d+)$", "", tensor)
            stages[stage].append((delta, allowed(tensor, noise)))
        for stage, values in stages.items():
            worst = max(values, key=lambda pair: pair[0] / max(pair[1], 1e-30))
            print(f"  {stage:32s} {worst[0]:8.1e} / {worst[1]:8.1e}{'' if worst[0] <= worst[1] else '  BAD'}")
        for picture in range(len(ids)):
            print(f"  picture {picture}: (twins, ours, theirs) {box_agreement(out, case, picture)}")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        report(Path(argument))
