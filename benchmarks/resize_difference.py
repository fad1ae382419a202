"""What our resize changes against each image processor of transformers: pixels, boxes, scores.

We resize with swscale (PyAV's `VideoFrame.reformat`), transformers with Pillow or scipy. Pixels are compared
after both, in steps of 0..255; boxes and scores as a small random network of the family gives them for either
picture. Run: `python benchmarks/resize_difference.py VIDEO_OR_PICTURE...` (real scenes).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from random_checkpoints import write_small
from torch import Tensor

from groundstream.models.common.postprocess import iou_matrix
from groundstream.models.common.quiet import quiet
from groundstream.models.registry import load_grounder
from groundstream.models.types import PicturePlan, Prompt, RawDetections

FAMILIES = ("grounding-dino", "owlvit", "owlv2")
WAYS = ("FAST_BILINEAR", "BILINEAR", "BICUBIC", "AREA", "LANCZOS")
BEST = 20


def read(path: Path) -> av.VideoFrame:
    """Return the first frame of a file, as decoded."""
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


def letterboxed(frame: av.VideoFrame, plan: PicturePlan, way: str) -> Tensor:
    """Resize straight from the decoded format onto the canvas; (1, H, W, 3) uint8."""
    height, width = plan.content_px
    canvas = torch.zeros(1, *plan.canvas_px, 3, dtype=torch.uint8)
    resized = frame.reformat(width, height, format="rgb24", interpolation=way)
    canvas[0, :height, :width] = torch.from_numpy(resized.to_ndarray())
    return canvas


def answer(grounder: Any, values: Tensor, plan: PicturePlan) -> tuple[Tensor, RawDetections]:
    """Return the finest features and the candidates for (1, 3, H, W) normalised pixels."""
    grounder.pixel_values = lambda *_: values
    text = grounder.encode_text([Prompt.of(["person", "white van"])])[0]
    blank = torch.zeros(1, *plan.canvas_px, 3, dtype=torch.uint8)
    features = grounder.encode_image(blank, torch.tensor([plan.content_px]))
    del grounder.pixel_values
    return features.levels[0], grounder.ground(features, [text], 0.0)[0]


def differences(grounder: Any, ours: Tensor, theirs: Tensor, plan: PicturePlan) -> tuple[float, ...]:
    """Return what differs: pixels (0..255), features (relative), best scores, best boxes (overlap)."""
    height, width = plan.content_px
    pixel = (ours - theirs)[..., :height, :width].abs().mean((0, 2, 3)) * torch.tensor(
        grounder.pixel_rule.std
    )
    (one, far), (two, near) = answer(grounder, ours, plan), answer(grounder, theirs, plan)
    feature = (one - two).abs().mean() / two.abs().mean()
    score = np.abs(far.phrase_scores[:BEST].max(1) - near.phrase_scores[:BEST].max(1)).mean()
    overlap = iou_matrix(*(torch.from_numpy(raw.boxes_model[:BEST]) for raw in (far, near))).amax(1).mean()
    return float(pixel.mean()), float(feature), float(score), float(overlap)


def rows(grounder: Any, processor: Any, frame: av.VideoFrame) -> dict[str, tuple[float, ...]]:
    """Return the differences of one picture for every way of resizing, and for noise of one step."""
    plan = grounder.size_rule.plan(frame.height, frame.width)
    content = torch.tensor([plan.content_px])
    theirs = processor(frame.to_ndarray(format="rgb24"), return_tensors="pt")["pixel_values"].float()
    step = 1 / torch.tensor(grounder.pixel_rule.std).view(3, 1, 1)
    noisy = theirs + torch.randint(-1, 2, theirs.shape, generator=torch.Generator().manual_seed(0)) * step
    found = {"(noise of 1 step)": differences(grounder, noisy, theirs, plan)}
    for way in WAYS:
        ours = grounder.pixel_values(letterboxed(frame, plan, way), content)
        found[way] = differences(grounder, ours, theirs, plan)
    return found


def main(paths: list[Path]) -> None:
    """Print one line per family and way of resizing, the mean over all files."""
    print(f"{'family':16s} {'way':18s} {'pixels':>7s} {'features':>8s} {'score':>8s} {'overlap':>8s}")
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            with quiet():
                processor = write_small(family, Path(folder))
            grounder = load_grounder(folder, device="cpu", dtype="float32")
            tables = [rows(grounder, processor, read(path)) for path in paths]
            for way in tables[0]:
                pixel, feature, score, overlap = np.mean([table[way] for table in tables], axis=0)
                print(f"{family:16s} {way:18s} {pixel:7.2f} {feature:8.3f} {score:8.4f} {overlap:8.3f}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
