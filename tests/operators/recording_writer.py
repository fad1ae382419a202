"""Records a video's segments until it is killed; says how far it has come. Run as a program."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from segment_reader import segments_of

from groundstream.operators.recording.writer import RecordingFiles


def write(video: Path, folder: Path, file_s: float) -> None:
    """Record `video` into `folder` in files of `file_s`; print the media time after each segment."""
    files = RecordingFiles(folder, file_s, print_nothing, print_nothing, reserve_bytes=1)
    segments = segments_of(video, "cam")
    print("ready", flush=True)
    for segment in segments:
        files.write(segment)
        print(segment.end_s, flush=True)
        time.sleep(0.01)
    files.finish()
    print("finished", flush=True)
    time.sleep(60)


def print_nothing(_: object) -> None:
    """Hear of files and changes."""


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
