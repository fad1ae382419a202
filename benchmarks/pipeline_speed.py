"""What everything outside the model costs: the whole pipeline with the colour-blob grounder.

    python benchmarks/pipeline_speed.py [--frames 20000]

Makes a 640x360 clip at 30 fps with five coloured objects that move, then runs it as `groundstream run`
does: records only, records and annotated video, and (memory) the same again for many frames, with the
resident memory's slope after the first tenth. Prints frames per second and MB per 1,000 frames.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil

from groundstream.pipeline.api import open_pipeline

COLOURS = {"red": (230, 25, 25), "white": (255, 255, 255), "blue": (25, 60, 230), "yellow": (240, 220, 25)}
OUTPUTS = {False: "records only", True: "records and annotated video"}
PHRASES = [f"{colour} car" for colour in COLOURS] + ["green car"]


def make_clip(
    path: Path, frames: int, width: int = 640, height: int = 360, *, fps: float = 30, hold: float = 1
) -> Path:
    """Write a clip of `frames` frames in which coloured boxes move over a grey ground.

    The first frame stands for `hold` times as long as the others; if so, there are no B-frames.
    """
    with av.open(str(path), "w") as container:
        rate = Fraction(fps).limit_denominator(1000)
        options = {"preset": "veryfast", "crf": "23"} | ({"bf": "0"} if hold != 1 else {})
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            picture = np.full((height, width, 3), 120, np.uint8)
            for row, colour in enumerate(COLOURS.values()):
                left = int((width - 60) * (0.5 + 0.5 * np.sin(number / 50 + row)))
                picture[40 + 75 * row : 90 + 75 * row, left : left + 60] = colour
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            periods = number + hold - 1 if number else 0
            frame.pts, frame.time_base = round(1000 * periods / fps), Fraction(1, 1000)
            frame.duration = round(1000 / fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def run(clip: Path, out: Path, *, video: bool) -> tuple[int, float, list[float]]:
    """Run the pipeline once; return frames, seconds, and resident MB every 100 frames."""
    process, memory, count = psutil.Process(), [], 0
    output = {"dir": out, "video": video, "overwrite": True}
    with open_pipeline(clip, PHRASES, model="fake", text_cache="none", output=output) as pipeline:
        started = time.perf_counter()
        objects = 0

        def note(result: object) -> None:
            nonlocal count, objects
            count += 1
            objects += len(result.objects)  # type: ignore[attr-defined]
            if count % 100 == 0:
                memory.append(process.memory_info().rss / 1e6)

        pipeline.run(note)
        seconds = time.perf_counter() - started
    assert objects >= 3 * count, "the objects are not found; the benchmark measures nothing"
    return count, seconds, memory


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20_000, help="length of the memory run")
    parser.add_argument("--rounds", type=int, default=3, help="of the speed runs; 0 leaves them out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Memory first: in a process that has run nothing else, so that the slope is the run's own.
        measure_memory(make_clip(Path(folder) / "long.mp4", arguments.frames), Path(folder) / "out")
        if arguments.rounds:
            measure_speed(make_clip(Path(folder) / "clip.mp4", 1500), Path(folder) / "out", arguments.rounds)


def measure_memory(clip: Path, out: Path) -> None:
    """Print the resident memory after a tenth of the frames and at the end, by output."""
    for video, name in OUTPUTS.items():
        count, _, memory = run(clip, out, video=video)
        late = np.array(memory[len(memory) // 10 :])
        slope = np.polyfit(np.arange(len(late)) / 10, late, 1)[0]
        print(
            f"{name}: {count} frames, {late[0]:.1f} -> {late[-1]:.1f} MB, {slope:+.3f} MB per 1,000 frames",
            flush=True,
        )


def measure_speed(clip: Path, out: Path, rounds: int) -> None:
    """Print the frames per second, by output."""
    for video, name in OUTPUTS.items():
        rates = []
        for _ in range(rounds):
            count, seconds, _ = run(clip, out, video=video)
            rates.append(count / seconds)
        print(f"{name}: median {sorted(rates)[rounds // 2]:.0f} frames/s of {[round(r) for r in rates]}")


if __name__ == "__main__":
    main()
