"""Draw a sheet of scenes with their boxes and questions, to look at, and say how fast scenes are made.

`python -m training.scenes.preview FOLDER/bank SHEET.png --split unseen-style`
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.scenes.bank import SPLITS, Bank
from training.scenes.generator import SceneConfig, SceneGenerator, SceneSample
from training.scenes.vocabulary import Vocabulary

_CAPTION_PX = 76


def main() -> None:
    """Write the sheet and print the rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bank", type=Path, help="the folder that training.data.fetch has filled: FOLDER/bank")
    parser.add_argument("sheet", type=Path, help="the picture to write")
    parser.add_argument("--split", choices=SPLITS, default="train")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    scenes = SceneGenerator(Bank.open(options.bank), Vocabulary.read(), SPLITS[options.split], SceneConfig())
    cells = [draw(scenes.sample(index)) for index in range(12)]
    sheet = np.vstack([np.hstack(cells[start : start + 4]) for start in range(0, 12, 4)])
    Image.fromarray(sheet).save(options.sheet)
    started, count = time.process_time(), 300
    for index in range(count):
        scenes.sample(index)
    spent_s = time.process_time() - started
    print(f"{count / spent_s:.0f} pictures per second of one core; {options.sheet}")


def draw(sample: SceneSample) -> NDArray[np.uint8]:
    """Return the scene with its boxes and, below, phrases that fit something (+) and some that do not (-)."""
    picture = sample.picture.copy()
    for box, thing, visibility in zip(
        sample.boxes.astype(int), sample.objects, sample.visibility, strict=True
    ):
        cv2.rectangle(picture, box[:2].tolist(), (box[2:] - 1).tolist(), (255, 0, 255))
        label = f"{thing.color} {thing.concept} {visibility:.2f}".strip()
        _write(picture, label, int(box[0]), max(9, int(box[1]) - 2), (255, 0, 0))
    caption = np.zeros((_CAPTION_PX, picture.shape[1], 3), np.uint8)
    fits = [bool(row.any()) for row in sample.truth]
    row = 0
    for present, sign in ((True, "+ "), (False, "- ")):
        phrases = [phrase for phrase, fit in zip(sample.phrases, fits, strict=True) if fit == present]
        for start in range(0, min(len(phrases), 10), 4):
            text = sign + ", ".join(phrases[start : start + 4])
            row += 1
            _write(caption, text, 2, 14 * row - 2, (255, 255, 255) if present else (120, 170, 255))
    return np.vstack([picture, caption])


def _write(picture: NDArray[np.uint8], text: str, x: int, y: int, rgb: tuple[int, int, int]) -> None:
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.33, rgb)


if __name__ == "__main__":
    main()
