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

from groundstream.models.postprocess import iou_matrix
from groundstream.models.quiet import quiet
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


def answer(grounder: Any, values: Tensor, plan: PicturePlan) -> RawDetections:
    """Return candidates for (1, 3, H, W) normalised pixels."""
    grounder.pixel_values = lambda *_: values
    text = grounder.encode_text([Prompt.of(["person", "white van"])])[0]
    blank = torch.zeros(1, *plan.canvas_px, 3, dtype=torch.uint8)
    result: RawDetections = grounder.detect(blank, torch.tensor([plan.content_px]), [[text]], floor=0.0)[0]
    del grounder.pixel_values
    return result


def differences(grounder: Any, processor: Any, frame: av.VideoFrame, way: str) -> tuple[float, float, float]:
    """Return mean pixel difference, mean overlap of the best boxes with their twins, mean score difference."""
    plan = grounder.size_rule.plan(frame.height, frame.width)
    content = torch.tensor([plan.content_px])
    ours = grounder.pixel_values(letterboxed(frame, plan, way), content)
    theirs = processor(frame.to_ndarray(format="rgb24"), return_tensors="pt")["pixel_values"].float()
    height, width = plan.content_px
    pixel = (ours - theirs)[..., :height, :width].abs().mean((0, 2, 3)) * torch.tensor(
        grounder.pixel_rule.std
    )
    first, second = answer(grounder, ours, plan), answer(grounder, theirs, plan)
    overlap = iou_matrix(*(torch.from_numpy(raw.boxes_model[:BEST]) for raw in (first, second)))
    score = np.abs(first.phrase_scores[:BEST].max(1) - second.phrase_scores[:BEST].max(1))
    return float(pixel.mean()), float(overlap.amax(1).mean()), float(score.mean())


def main(paths: list[Path]) -> None:
    """Print one line per family and way of resizing."""
    print(f"{'family':16s} {'way':14s} {'pixels':>7s} {'overlap':>8s} {'score':>8s}")
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            with quiet():
                processor = write_small(family, Path(folder))
            grounder = load_grounder(folder, device="cpu", dtype="float32")
            for way in WAYS:
                rows = [differences(grounder, processor, read(path), way) for path in paths]
                pixel, overlap, score = np.mean(rows, axis=0)
                print(f"{family:16s} {way:14s} {pixel:7.2f} {overlap:8.3f} {score:8.4f}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
