"""How fast a grounder answers, against transformers' processor and model called once per frame.

Both sides have the same random weights and the same frame, and run by turns in one process. Run:
`python benchmarks/grounder_speed.py [owlvit] [grounding-dino] [normalize] [--busy]`. `--busy` takes one
thread and counts processor time instead of wall time, so that ratios hold while others use the machine.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import kornia
import numpy as np
import torch
from random_checkpoints import write_grounding_dino_tiny, write_owlvit_base_patch32
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from groundstream.models.common.preprocess import PixelRule, normalize
from groundstream.models.common.quiet import quiet
from groundstream.models.registry import load_grounder
from groundstream.models.types import Prompt

PHRASES = ["person", "white van"]
ROUNDS = 5


def frame(height: int = 480, width: int = 640) -> np.ndarray[Any, Any]:
    """Return an RGB picture with structure."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    picture = av.VideoFrame.from_ndarray(coarse, format="rgb24").reformat(
        width, height, interpolation="BICUBIC"
    )
    return picture.to_ndarray(format="rgb24")


def users_script(folder: Path, picture: np.ndarray[Any, Any]) -> Callable[[], Any]:
    """Return what a user's script does per frame: processor, model, post-processing."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    dino = "Dino" in type(model).__name__
    text = ". ".join(PHRASES) + "." if dino else [PHRASES]

    @torch.inference_mode()
    def step() -> Any:
        inputs = processor(images=picture, text=text, return_tensors="pt")
        outputs = model(**inputs)
        return processor.post_process_grounded_object_detection(
            outputs, threshold=0.25, target_sizes=[picture.shape[:2]]
        )

    return step


def ours(folder: Path, picture: np.ndarray[Any, Any], dtype: str) -> Callable[[], Any]:
    """Return what groundstream does per frame: letterbox, then the grounder with text encoded before."""
    grounder = load_grounder(str(folder), device="cpu", dtype=dtype)
    texts = grounder.encode_text([Prompt.of(PHRASES)])
    plan = grounder.size_rule.plan(*picture.shape[:2])
    content = torch.tensor([plan.content_px])

    def step() -> Any:
        source = av.VideoFrame.from_ndarray(picture, format="rgb24")
        height, width = plan.content_px
        resized = source.reformat(width, height, format="rgb24", interpolation="AREA").to_ndarray()
        return grounder.detect(torch.from_numpy(resized)[None], content, [texts])

    return step


def compare(name: str, folder: Path) -> None:
    """Print medians by turns and their ratios."""
    picture = frame()
    with quiet():
        sides = {"transformers float32": users_script(folder, picture)}
    sides |= {f"groundstream {dtype}": ours(folder, picture, dtype) for dtype in ("float32", "auto")}
    taken = by_turns(sides)
    base = taken["transformers float32"]
    for side, seconds in taken.items():
        print(f"{name:16s} {side:24s} {seconds * 1e3:8.1f} ms  {base / seconds:5.2f} x")


def by_turns(sides: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return each side's median seconds over rounds in which all sides run once."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(ROUNDS + 1):
        for side, step in sides.items():
            start = clock()
            step()
            if number:  # the first round warms up
                taken[side].append(clock() - start)
    return {side: statistics.median(seconds) for side, seconds in taken.items()}


def compare_normalize() -> None:
    """Print how long normalisation takes by two ways."""
    pixels = torch.from_numpy(frame(768, 768))[None]
    rule = PixelRule((122.8, 116.7, 104.1), (68.5, 66.6, 70.3))
    mean, std, cpu = torch.tensor(rule.mean), torch.tensor(rule.std), torch.device("cpu")
    content = torch.tensor([[768, 768]])
    taken = by_turns(
        {
            "kornia.enhance.normalize": lambda: kornia.enhance.normalize(
                pixels.permute(0, 3, 1, 2).float(), mean, std
            ),
            "groundstream normalize": lambda: normalize(pixels, content, rule, cpu, torch.float32),
        }
    )
    for side, seconds in taken.items():
        print(f"normalize 768    {side:24s} {seconds * 1e3:8.2f} ms")


def main(asked: list[str]) -> None:
    """Run the asked comparisons, or all."""
    if "--busy" in asked:
        asked.remove("--busy")
        torch.set_num_threads(1)
    builders = {"owlvit": write_owlvit_base_patch32, "grounding-dino": write_grounding_dino_tiny}
    if not asked or "normalize" in asked:
        compare_normalize()
    for name, build in builders.items():
        if not asked or name in asked:
            with tempfile.TemporaryDirectory() as folder:
                with quiet():
                    build(Path(folder))
                compare(name, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
