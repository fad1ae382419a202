"""Which of the bank's pictures glip-nano knows: the cast of the temporal benchmark.

An adapter can only keep what the frozen model sees on clean frames, so clips show pictures that it finds
there. Each picture is pasted on a few backgrounds and asked for by its class; what is found in most of them
is kept. `python -m training.temporal.cast BANK` writes the table that the benchmark
reads; it took four minutes on one busy core.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import supervision as sv
import torch
from numpy.typing import NDArray

from groundstream.models.base import Grounder
from groundstream.models.nano.config import COCO_NAMES
from groundstream.models.nano.grounder import NanoGrounder
from groundstream.models.types import Prompt, TextFeatures
from training import DATA
from training.scenes.backgrounds import make_background
from training.scenes.bank import Bank, Sprite
from training.scenes.paste import Canvas, Placement, make_patch

TABLE = DATA / "temporal_cast.tsv"
TRIES = 4
SIZE_PX = (256, 416)
#: a picture is in the cast when its mean score over the tries, 0 where it is not found, is at least this.
LEAST_SCORE = 0.3


def class_of_concepts(grounder: NanoGrounder, concepts: Sequence[str]) -> dict[str, str]:
    """Return, for the concepts that mean one class of the frozen network, which one (a COCO name)."""
    found = {}
    names = grounder.encode_text([Prompt(COCO_NAMES)])[0].tokens
    for concept, text in zip(concepts, _alone(grounder, concepts), strict=True):
        if len(text.tokens) == 1:
            # A concept's row is its class's row with the bias lowered by the gate's logarithm.
            found[concept] = COCO_NAMES[int((names - text.tokens).abs().flatten(1).sum(1).argmin())]
    return found


def _alone(grounder: NanoGrounder, concepts: Sequence[str]) -> list[TextFeatures]:
    return grounder.encode_text([Prompt((concept,)) for concept in concepts])


def mean_score(grounder: Grounder, sprite: Sprite, text: TextFeatures, backgrounds: Bank, seed: int) -> float:
    """Return the mean score of the sprite's box over `TRIES` pictures; 0 counts where it is not found."""
    rng = np.random.default_rng(seed)
    pictures, boxes = zip(*(_paste(sprite, backgrounds, rng) for _ in range(TRIES)), strict=True)
    content = torch.tensor([SIZE_PX] * TRIES)
    answers = grounder.detect(torch.from_numpy(np.stack(pictures)), content, [[text]] * TRIES)
    scores = [
        answer.phrase_scores[sv.box_iou_batch(box[None], answer.boxes_model)[0] >= 0.5].max(initial=0)
        for box, answer in zip(boxes, answers, strict=True)
        if len(answer.boxes_model)
    ]
    return float(sum(scores) / TRIES)


def _paste(
    sprite: Sprite, backgrounds: Bank, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    height, width = SIZE_PX
    background, _ = make_background(backgrounds.photographs, rng, height, width)
    canvas = Canvas(background)
    side = float(np.exp(rng.uniform(np.log(60), np.log(150))))
    center = (float(rng.uniform(80, width - 80)), float(rng.uniform(80, height - 80)))
    placement = Placement(center, side / max(sprite.rgba.shape[:2]), 0.0, bool(rng.random() < 0.5))
    canvas.add_object(make_patch(sprite.rgba, placement))
    return canvas.picture, np.asarray(canvas.seen()[0].box, np.float32)


def read_cast(bank: Bank, path: Path = TABLE) -> dict[tuple[str, str], str]:
    """Return the class of each picture of the cast, by style and key; only pictures that `bank` has."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        cast = {(row["style"], row["key"]): row["class"] for row in rows}
    there = {(sprite.style, sprite.key) for sprite in bank.sprites}
    return {picture: name for picture, name in cast.items() if picture in there}


def main() -> None:
    """Try every picture of a bank and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bank", type=Path)
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    bank, grounder = Bank.open(options.bank), NanoGrounder.from_name("glip-nano")
    classes = class_of_concepts(grounder, sorted({sprite.concept for sprite in bank.sprites}))
    with options.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("style", "key", "class"))
        for number, sprite in enumerate(bank.sprites):
            if sprite.concept not in classes:
                continue
            (text,) = grounder.encode_text([Prompt((classes[sprite.concept],))])
            score = mean_score(grounder, sprite, text, bank, number)
            if score >= LEAST_SCORE:
                writer.writerow((sprite.style, sprite.key, classes[sprite.concept]))
                file.flush()


if __name__ == "__main__":
    main()
