"""Frozen features of generated scenes, computed once and kept in files: the backbone is most of the work.

Two kinds of files, each a safetensors file of some hundred scenes:
- `objects`: the region features of all cells, and the boxes of the things; they teach what a thing is.
- `names`: raw stage features inside proposed boxes, and what each box shows; they teach names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from groundstream.models.common.postprocess import iou_matrix
from groundstream.models.common.tensor_file import read_tensors
from groundstream.models.nano.config import SHIPPED, NanoConfig
from groundstream.models.nano.network import NanoHead, NanoNetwork
from groundstream.models.nano.open_head import OpenHead
from groundstream.models.nano.sampling import sample_boxes
from training.scenes.bank import Bank, Split
from training.scenes.generator import SceneConfig, SceneGenerator, SceneSample
from training.scenes.vocabulary import Vocabulary

#: things of which less is visible are neither learnt nor background.
LEAST_VISIBLE = 0.35
#: a proposal shows a thing from this overlap on, and nothing below the second.
SAME_IOU, OTHER_IOU = 0.55, 0.3
#: proposals per scene that show nothing and are kept, the strongest.
MOST_NOTHING = 3
BATCH = 8
#: random shift of a true box's sides, in parts of its size, where no proposal found it.
JITTER = 0.08


class Frozen:
    """The frozen network, as the open branch sees it: raw stage maps and region features, in bfloat16."""

    def __init__(self) -> None:
        self.config = NanoConfig()
        network = NanoNetwork.from_tensors(read_tensors(SHIPPED), self.config)
        network.backbone.to(torch.bfloat16)
        network.head.regions.to(torch.bfloat16)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        self._network = network

    @property
    def head(self) -> NanoHead:
        """The frozen head."""
        return self._network.head

    @torch.inference_mode()
    def __call__(self, pictures: NDArray[np.uint8]) -> tuple[list[Tensor], list[Tensor]]:
        """Map (B, H, W, 3) uint8 pictures to four (B, C, H_s, W_s) maps and three (B, N_l, 128) features."""
        pixels = torch.from_numpy(pictures).float()
        x = (pixels - torch.tensor(self.config.mean_rgb)) / torch.tensor(self.config.std_rgb)
        x = x.permute(0, 3, 1, 2).to(torch.bfloat16, memory_format=torch.channels_last)
        stages = self._network.backbone.stage_maps(x)
        regions = self._network.head.region_features(self._network.backbone.neck(stages))
        return [stage.float() for stage in stages], regions


@dataclass(frozen=True)
class Renderer:
    """Renders scenes of one split in batches with their frozen features."""

    bank: Bank
    vocabulary: Vocabulary
    split: Split
    scene: SceneConfig
    frozen: Frozen

    def batches(
        self, start: int, count: int
    ) -> Iterator[tuple[list[SceneSample], list[Tensor], list[Tensor]]]:
        """Yield scenes from number `start` on, with their stage maps and region features."""
        scenes = SceneGenerator(self.bank, self.vocabulary, self.split, self.scene)
        for first in range(start, start + count, BATCH):
            samples = [scenes.sample(index) for index in range(first, min(first + BATCH, start + count))]
            yield samples, *self.frozen(np.stack([sample.picture for sample in samples]))


def write_objects(renderer: Renderer, start: int, count: int, path: Path) -> None:
    """Write the `objects` file of scenes `start` to `start + count`."""
    regions, boxes = [], []
    for samples, _, features in renderer.batches(start, count):
        regions.append(torch.cat(features, 1).half())
        boxes += [torch.from_numpy(s.boxes[s.visibility >= LEAST_VISIBLE]) for s in samples]
    padded = torch.nn.utils.rnn.pad_sequence(boxes, batch_first=True, padding_value=torch.nan)
    _save(path, {"regions": torch.cat(regions), "boxes": padded}, {})


class BoxTruth(NamedTuple):
    """What K boxes of one scene show: boxes and true boxes (K, 4), the row of their thing or -1 (K,)."""

    boxes: Tensor
    wanted: Tensor
    things: Tensor


def write_names(
    renderer: Renderer, head: OpenHead, concepts: Sequence[str], start: int, count: int, path: Path
) -> None:
    """Write the `names` file of scenes `start` to `start + count`; `head` proposes boxes."""
    number = {name: row for row, name in enumerate(concepts)}
    parts: dict[str, list[Tensor]] = {"described": [], "boxes": [], "wanted": [], "labels": [], "scenes": []}
    backgrounds: list[str] = []
    random = torch.Generator().manual_seed(start)
    for samples, stages, features in renderer.batches(start, count):
        for row, sample in enumerate(samples):
            truth = _choose_boxes(head, sample, [level[row] for level in features], random)
            named = [number[thing.concept] for thing in sample.objects] + [len(concepts)]
            maps = [stage[row : row + 1] for stage in stages]
            parts["described"].append(describe(head, maps, truth.boxes).half())
            parts["boxes"].append(truth.boxes)
            parts["wanted"].append(truth.wanted)
            parts["labels"].append(torch.tensor(named)[truth.things].int())
            parts["scenes"].append(torch.full((len(truth.boxes),), len(backgrounds), dtype=torch.int32))
            backgrounds.append("|".join(sample.background))
    tensors = {key: torch.cat(value) for key, value in parts.items()}
    _save(path, tensors, {"backgrounds": json.dumps(backgrounds)})


def describe(head: OpenHead, stages: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Return (K, sum of points^2 * depth) raw stage features of the boxes of one 1:1 scene."""
    side = stages[0].shape[-1] * 4
    canvas = (stages[0].shape[-2] * 4, side)
    return torch.cat(
        [
            sample_boxes(stage, boxes, points, canvas)
            for stage, points in zip(stages, head.config.grid, strict=True)
        ],
        1,
    )


@torch.inference_mode()
def _choose_boxes(
    head: OpenHead, sample: SceneSample, regions: Sequence[Tensor], random: torch.Generator
) -> BoxTruth:
    """Choose the proposals that show a thing, true boxes that none found, and proposals of nothing."""
    height, width = sample.picture.shape[:2]
    widths = [width // stride for stride in head.strides_px]
    proposals = head.propose(regions, widths, (height, width))
    truth = torch.from_numpy(sample.boxes)
    overlap = iou_matrix(proposals.boxes, truth)
    best, owner = overlap.max(1) if len(truth) else (overlap.new_zeros(len(overlap)), overlap.new_zeros(0))
    clear = torch.from_numpy(sample.visibility >= LEAST_VISIBLE)
    nothing = proposals.boxes[best < OTHER_IOU][:MOST_NOTHING]
    rows = [
        torch.nonzero((owner == thing) & (best >= SAME_IOU)).flatten()[:1]
        for thing in torch.nonzero(clear).flatten()
    ]
    found = torch.cat([*rows, torch.zeros(0, dtype=torch.int64)])
    things = owner[found].long() if len(truth) else torch.zeros(0, dtype=torch.int64)
    missed = torch.tensor(
        [thing for thing in torch.nonzero(clear).flatten().tolist() if thing not in set(things.tolist())],
        dtype=torch.int64,
    )
    sides = (truth[missed, 2:] - truth[missed, :2]).repeat(1, 2)
    shaken = truth[missed] + JITTER * sides * torch.randn(len(missed), 4, generator=random).clamp(-2, 2)
    boxes = torch.cat((proposals.boxes[found], shaken, nothing))
    owners = torch.cat((things, missed, torch.full((len(nothing),), -1)))
    wanted = torch.cat((truth[things], truth[missed], nothing))
    return BoxTruth(boxes, wanted, owners)


def read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file of either kind, with its notes."""
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _save(path: Path, tensors: dict[str, Tensor], notes: dict[str, str]) -> None:
    """Write in one step, so that a killed run leaves no half file behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({key: value.contiguous() for key, value in tensors.items()}, part, notes)
    part.rename(path)
