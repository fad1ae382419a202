"""What keeping the compressed video costs: decoding alone, with tap and ring, and with a recording as well.

The sides run by turns; CPU seconds of the whole process are compared, which other programs on the machine
disturb less than the clock. Then 16 rings of 10 s are filled and their memory is read.

    python benchmarks/packet_tap.py VIDEO [--rounds 5]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from groundstream.operators.recording.writer import RecordingWriter
from groundstream.operators.sources import SourceOptions, open_source
from groundstream.operators.video.segment import Segment
from groundstream.operators.video.tap import PacketTap, Ring

STREAMS, SECONDS, MOST_BYTES = 16, 10.0, 256 * 2**20


def decode(video: Path, tap: PacketTap | None) -> int:
    """Decode `video` at full speed; return its number of frames."""
    with open_source(str(video), "bench", SourceOptions(semantics="file"), tap=tap) as source:
        return sum(1 for _ in source)


def alone(video: Path) -> int:
    """Decode without a tap."""
    return decode(video, None)


def ring(video: Path) -> int:
    """Decode with a ring of ten seconds."""
    return decode(video, PacketTap(Ring(SECONDS, MOST_BYTES).add))


def recording(video: Path) -> int:
    """Decode with a ring and a recording in files of 30 s."""
    kept = Ring(SECONDS, MOST_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        record = RecordingWriter(Path(folder), 30.0, on_file=lambda file: None, on_change=lambda change: None)

        def keep(segment: Segment) -> None:
            kept.add(segment)
            record.add(segment)

        frames = decode(video, PacketTap(keep))
        record.close()
    return frames


def cpu_s(side: Callable[[Path], int], video: Path) -> tuple[float, int]:
    """Return the CPU seconds of a run and its number of frames."""
    started = time.process_time()
    frames = side(video)
    return time.process_time() - started, frames


def memory(video: Path) -> str:
    """Fill a ring per stream; return what they say that they hold, and what the process has grown by."""
    segments: list[Segment] = []
    decode(video, PacketTap(segments.append))
    before = psutil.Process().memory_info().rss
    rings = [Ring(SECONDS, MOST_BYTES) for _ in range(STREAMS)]
    for each in rings:
        for segment in segments:
            each.add(copied(segment))
    held = sum(each.counters.bytes for each in rings)
    grown = psutil.Process().memory_info().rss - before
    return (
        f"{STREAMS} rings of {SECONDS:g} s hold {held / 1e6:.1f} MB; the process grew by {grown / 1e6:.1f} MB"
    )


def copied(segment: Segment) -> Segment:
    """Return `segment` with bytes of its own."""
    return dataclasses.replace(segment, data=bytes(bytearray(segment.data)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    sides = (alone, ring, recording)
    runs: dict[str, list[float]] = {side.__name__: [] for side in sides}
    frames = 0
    for _ in range(arguments.rounds):
        for side in sides:
            seconds, frames = cpu_s(side, arguments.video)
            runs[side.__name__].append(seconds)
    base = statistics.median(runs["alone"])
    for name, seconds in runs.items():
        median = statistics.median(seconds)
        more_us = (median - base) / frames * 1e6
        print(
            f"{name:10} {median:7.3f} CPU s ({min(seconds):.3f}..{max(seconds):.3f}) for {frames} frames: ",
            end="",
        )
        print(f"{median / base - 1:+.1%}, {more_us:+.0f} us a frame")
    print(memory(arguments.video))


if __name__ == "__main__":
    main()
