"""groundstream against the script that one would write today: frames per second, end to end.

The script: cv2 capture, transformers' processor and model once per frame, trackers' ByteTrack,
supervision's annotators and VideoSink. groundstream: `open_pipeline` with records and annotated video.
Same random weights, same clip, same thresholds; both sides run by turns in one process.

    python benchmarks/against_script.py [owlvit] [grounding-dino] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import supervision as sv
import torch
from pipeline_speed import make_clip
from random_checkpoints import write_grounding_dino_tiny, write_owlvit_base_patch32
from trackers import ByteTrackTracker
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from groundstream.models.common.quiet import quiet
from groundstream.pipeline.api import open_pipeline

PHRASES = ["person", "white van"]
SCORE = 0.4
WRITERS: dict[str, tuple[Callable[[Path], Path], int]] = {
    "owlvit": (write_owlvit_base_patch32, 32),
    "grounding-dino": (write_grounding_dino_tiny, 8),
}


def load_script(folder: Path) -> Callable[[Path, Path], float]:
    """Return the script, with its model loaded: clip and output in, seconds out."""
    with quiet():
        processor = AutoProcessor.from_pretrained(folder)
        model = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    text: Any = ". ".join(PHRASES) + "." if "Dino" in type(model).__name__ else [PHRASES]

    @torch.inference_mode()
    def run(clip: Path, out: Path) -> float:
        boxes, labels = sv.BoxAnnotator(), sv.LabelAnnotator()
        tracker = ByteTrackTracker(track_activation_threshold=SCORE, high_conf_det_threshold=SCORE)
        started = time.perf_counter()
        capture = cv2.VideoCapture(str(clip))
        with sv.VideoSink(str(out), sv.VideoInfo.from_video_path(str(clip))) as sink:
            while True:
                there, frame = capture.read()
                if not there:
                    break
                picture = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                inputs = processor(images=picture, text=text, return_tensors="pt")
                outputs = model(**inputs)
                (found,) = processor.post_process_grounded_object_detection(
                    outputs, threshold=SCORE, target_sizes=[frame.shape[:2]]
                )
                detections = tracker.update(
                    sv.Detections(
                        xyxy=found["boxes"].numpy(),
                        confidence=found["scores"].numpy(),
                        class_id=torch.arange(len(found["scores"])).numpy() % 2,
                    )
                )
                sink.write_frame(labels.annotate(boxes.annotate(frame, detections), detections))
        return time.perf_counter() - started

    return run


def load_ours(folder: Path, dtype: str) -> Callable[[Path, Path], tuple[float, float]]:
    """Return groundstream's side: clip and output in; seconds, and of these the model's, out."""

    def run(clip: Path, out: Path) -> tuple[float, float]:
        settings: dict[str, Any] = {
            "model": {"name": str(folder), "device": "cpu", "dtype": dtype},
            "track": {"score": SCORE},
            "output": {"dir": out, "overwrite": True},
            "text_cache": "none",
        }
        with open_pipeline(clip, PHRASES, **settings) as pipeline:
            started = time.perf_counter()
            pipeline.run()
            seconds = time.perf_counter() - started
            assert pipeline.detector_counters is not None
            return seconds, pipeline.detector_counters.busy_s

    return run


def compare(name: str, rounds: int, folder: Path) -> None:
    """Run both sides by turns; print medians, ratios, and the share that is not the model's."""
    write, frames = WRITERS[name]
    clip = make_clip(folder / "clip.mp4", frames, 640, 480)
    script = load_script(write(folder / "model"))
    sides = {dtype: load_ours(folder / "model", dtype) for dtype in ("float32", "auto")}
    script_s: list[float] = []
    ours_s: dict[str, list[tuple[float, float]]] = {dtype: [] for dtype in sides}
    for number in range(rounds + 1):
        taken = script(clip, folder / "script.mp4")
        answers = {dtype: run(clip, folder / "out") for dtype, run in sides.items()}
        if number:  # the first round warms up
            script_s.append(taken)
            for dtype, answer in answers.items():
                ours_s[dtype].append(answer)
    base = statistics.median(script_s)
    print(f"{name}: {frames} frames of 640x480, {rounds} rounds, medians")
    print(f"  script, float32        {frames / base:7.2f} frames/s")
    for dtype, answers_s in ours_s.items():
        seconds, model = (statistics.median(column) for column in zip(*answers_s, strict=True))
        print(
            f"  groundstream, {dtype:8s} {frames / seconds:7.2f} frames/s  {base / seconds:5.2f} x"
            f"   outside the model: {100 * (seconds - model) / seconds:.1f} %"
        )


def main() -> None:
    """Measure what is named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", choices=[*WRITERS, []], default=[])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for name in arguments.models or WRITERS:
        with tempfile.TemporaryDirectory() as folder:
            compare(name, arguments.rounds, Path(folder))


if __name__ == "__main__":
    main()
