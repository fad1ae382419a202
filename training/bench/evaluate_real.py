"""What glip-nano does on real pictures: agreement with its own closed-set network, and false alarms.

    python -m training.bench.evaluate_real FOLDER VIDEO

FOLDER is that of `training.data.fetch`; VIDEO a street scene, `vtest.avi` of opencv-doc or a copy of it. The
pictures are those of `real_pictures.tsv` (opencv-doc, scikit-image, Lomiri wallpapers); scores are calibrated
on others. No box on them was drawn by hand, so "AP50" says how well words repeat what the closed-set network
says.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundstream.models.base import Grounder
from groundstream.models.common.postprocess import suppress_per_phrase
from groundstream.models.common.tensor_file import read_tensors
from groundstream.models.nano.cells import pick_cells
from groundstream.models.nano.config import COCO_NAMES, SHIPPED, NanoConfig
from groundstream.models.nano.grounder import NanoGrounder
from groundstream.models.nano.network import NanoNetwork
from groundstream.models.nano.open_branch import OpenBranch
from groundstream.models.nano.postprocess import OVERLAP_IOU
from groundstream.models.nano.rows import meanings_of
from groundstream.models.types import Prompt, RawDetections
from groundstream.operators.detector import Letterbox, ModelPicture
from training.data.fetch import rows
from training.data.lexicon import everyday_meanings
from training.data.pack import read_photograph
from training.nano.evaluate import IOUS, average_precision, match
from training.scenes.vocabulary import Vocabulary

Rgb = NDArray[np.uint8]
#: boxes of the closed-set network from this score on are what words should find again.
SURE = 0.4
#: so many synonyms of each name are asked.
SYNONYMS = 3
#: so many phrases are asked at a time.
AT_ONCE = 100


@dataclass
class Pool:
    """Boxes of many phrases and pictures: scores, whether each is right, and how many should be found."""

    scores: list[NDArray[np.float32]] = field(default_factory=list)
    right: list[NDArray[np.bool_]] = field(default_factory=list)
    wanted: int = 0

    def add(
        self, boxes: NDArray[np.float32], scores: NDArray[np.float32], truth: NDArray[np.float32]
    ) -> None:
        """Add what one phrase found in one picture."""
        self.scores.append(scores)
        self.right.append(match(boxes, scores, truth)[:, IOUS.index(0.5)] >= 0)
        self.wanted += len(truth)

    def ap50(self) -> float:
        """Return the average precision at an overlap of 0.5."""
        scores, right = np.concatenate(self.scores), np.concatenate(self.right)
        return round(average_precision(scores, right, self.wanted), 4)


class ClosedSet:
    """The frozen network with its own 80 classifiers, on a square canvas of 416 px, in float32."""

    def __init__(self) -> None:
        self._config = NanoConfig()
        self._network = NanoNetwork.from_tensors(read_tensors(SHIPPED), self._config)

    @torch.inference_mode()
    def __call__(self, picture: ModelPicture) -> tuple[Tensor, Tensor]:
        """Return (N, 4) boxes in canvas pixels and (N, 80) scores; suppressed ones are zero."""
        side = self._config.picture_px
        height, width = picture.plan.content_px
        x = torch.zeros(1, 3, side, side)
        pixels = torch.from_numpy(picture.pixels[:height, :width]).float()
        normal = (pixels - torch.tensor(self._config.mean_rgb)) / torch.tensor(self._config.std_rgb)
        x[0, :, :height, :width] = normal.permute(2, 0, 1)
        head = self._network.head
        regions = [region[0] for region in head.region_features(self._network.backbone(x))]
        every = torch.cat(
            [
                region @ names.T + bias
                for region, names, bias in zip(regions, head.names, head.names_bias, strict=True)
            ]
        ).sigmoid()
        (numbers,) = torch.nonzero(every.amax(1) >= SURE / 2, as_tuple=True)
        widths = [side // stride for stride in head.strides_px]
        boxes = head.boxes(pick_cells(regions, widths, head.strides_px, numbers))
        limit = torch.tensor([width, height, width, height])
        found = boxes.clamp(min=0).minimum(limit)
        return found, suppress_per_phrase(found, every[numbers], OVERLAP_IOU, SURE)


def stills(folder: Path) -> Iterator[tuple[str, Rgb]]:
    """Yield the name and the pixels of every photograph of `real_pictures.tsv`."""
    wanted = rows("real_pictures.tsv")
    files: dict[str, Path] = {}
    for package in {row["package"] for row in wanted}:
        for file in sorted((folder / "unpacked" / package).rglob("*.*"), reverse=True):
            files[f"{package}/{file.name.removesuffix('.gz')}"] = file
    for row in wanted:
        yield row["path"], read_photograph(files[f"{row['package']}/{row['path']}"])


def frames(video: Path, every: int) -> Iterator[tuple[str, Rgb]]:
    """Yield every so-manieth frame of a video."""
    with av.open(str(video)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % every == 0:
                yield f"{video.name}:{number}", np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def placed(grounder: Grounder, pixels: Rgb) -> ModelPicture:
    """Put a picture on the canvas that the product would use."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
    return Letterbox(grounder.size_rule)(frame)


@torch.inference_mode()
def ask(grounder: Grounder, picture: ModelPicture, phrases: Sequence[str], floor: float) -> RawDetections:
    """Return what the product finds; boxes in canvas pixels, a column per phrase."""
    pixels, content = torch.from_numpy(picture.pixels)[None], torch.tensor([picture.plan.content_px])
    features = grounder.encode_image(pixels, content)
    parts = []
    for start in range(0, len(phrases), AT_ONCE):
        text = grounder.encode_text([Prompt.of(phrases[start : start + AT_ONCE])])
        parts.append((start, grounder.ground(features, text, floor)[0]))
    boxes = np.concatenate([raw.boxes_model for _, raw in parts])
    scores, row = np.zeros((len(boxes), len(phrases)), np.float32), 0
    for start, raw in parts:
        height, width = raw.phrase_scores.shape
        scores[row : row + height, start : start + width] = raw.phrase_scores
        row += height
    return RawDetections(boxes, scores)


def agreement(grounder: Grounder, pictures: Iterator[tuple[str, Rgb]]) -> dict[str, float]:
    """Return AP50 of names, synonyms and kinds against the boxes of the closed-set network."""
    closed, pools = ClosedSet(), {"names": Pool(), "synonyms": Pool(), "kinds": Pool()}
    asked: dict[str, Mapping[str, NDArray[np.bool_]]] = {
        "names": {name: np.arange(len(COCO_NAMES)) == row for row, name in enumerate(COCO_NAMES)},
        "synonyms": synonyms(),
        "kinds": kinds(),
    }
    for _, pixels in pictures:
        picture = placed(grounder, pixels)
        boxes, scores = closed(picture)
        for group, pool in pools.items():
            raw = ask(grounder, picture, list(asked[group]), 0.05)
            for column, classes in enumerate(asked[group].values()):
                best = scores[:, torch.from_numpy(classes)].amax(1, keepdim=True)
                truth = suppress_per_phrase(boxes, best, OVERLAP_IOU, SURE)[:, 0] >= SURE
                found = raw.phrase_scores[:, column] > 0
                pool.add(raw.boxes_model[found], raw.phrase_scores[found, column], boxes[truth].numpy())
    return {f"{group}, {len(asked[group])} phrases": pool.ap50() for group, pool in pools.items()}


def synonyms() -> dict[str, NDArray[np.bool_]]:
    """Return the first hand-written words for each name, and which class they mean."""
    found: dict[str, NDArray[np.bool_]] = {}
    taken: Counter[int] = Counter()
    for words, meaning in everyday_meanings():
        classes, phrase = np.flatnonzero(meaning), " ".join(words)
        if len(classes) != 1 or meaning[classes[0]] < 1 or phrase in COCO_NAMES:
            continue
        if taken[int(classes[0])] < SYNONYMS:
            found[phrase] = np.asarray(meaning) > 0
            taken[int(classes[0])] += 1
    return found


def kinds() -> dict[str, NDArray[np.bool_]]:
    """Return one hand-written word for each set of classes that one word means."""
    found: dict[tuple[float, ...], str] = {}
    for words, meaning in everyday_meanings():
        if sum(meaning) > 1 and set(meaning) == {0.0, 1.0}:
            found.setdefault(meaning, " ".join(words))
    return {phrase: np.asarray(meaning) > 0 for meaning, phrase in found.items()}


def only_open(grounder: Grounder, vocabulary: Vocabulary) -> list[str]:
    """Return the names of concepts that the open branch knows and the frozen classifiers do not."""
    names = []
    for name in vocabulary.concepts:
        (text,) = grounder.encode_text([Prompt.of([name])])
        meanings = meanings_of(text.tokens, text.spans)
        if not bool(meanings.known.any()) and bool(meanings.meant.any()):
            names.append(name)
    return names


def false_alarms(
    grounder: Grounder, pictures: Iterator[tuple[str, Rgb]], vocabulary: Vocabulary
) -> dict[str, object]:
    """Ask every picture for all that only the open branch knows, but for what it is known to show.

    Most pictures have no list of what they show: what is found there rightly counts as false, too.
    """
    names = only_open(grounder, vocabulary)
    contains = {row["path"]: row["contains"].split("|") for row in rows("photographs.tsv")}
    asked = found = count = 0
    alarms: Counter[str] = Counter()
    for key, pixels in pictures:
        shown = [word for word in contains.get(key, []) if word]
        absent = [name for name in names if not any(_alike(vocabulary, name, other) for other in shown)]
        raw = ask(grounder, placed(grounder, pixels), absent, grounder.preset.score)
        firing = (raw.phrase_scores >= grounder.preset.score).sum(0)
        alarms.update({name: int(boxes) for name, boxes in zip(absent, firing, strict=True) if boxes})
        asked, found, count = asked + len(absent), found + int(firing.sum()), count + 1
    return {
        "pictures": count,
        "asked": asked,
        "boxes": found,
        "per_20_phrases": round(20 * found / max(asked, 1), 4),
        "most": alarms.most_common(12),
    }


def _alike(vocabulary: Vocabulary, name: str, shown: str) -> bool:
    return bool(vocabulary.match(name, shown)) or bool(vocabulary.match(shown, name))


def found_in(
    grounder: Grounder, pictures: Iterator[tuple[str, Rgb]], phrases: Sequence[str]
) -> dict[str, float]:
    """Return in which part of the pictures each phrase is found, at the model's own threshold."""
    best = [
        ask(grounder, placed(grounder, pixels), phrases, grounder.preset.floor).phrase_scores.max(
            axis=0, initial=0
        )
        for _, pixels in pictures
    ]
    found = (np.array(best) >= grounder.preset.score).mean(axis=0)
    return {phrase: round(float(part), 4) for phrase, part in zip(phrases, found, strict=True)}


def load(weights: Path) -> NanoGrounder:
    """Load glip-nano with the open branch of a weight file that is not (yet) the shipped one."""
    grounder = NanoGrounder.from_name("glip-nano", device="cpu")
    branch = OpenBranch.from_tensors(read_tensors(weights), NanoConfig())
    grounder._open = branch.to(grounder.device, grounder.dtype)  # ours, and only here
    return grounder


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the folder of training.data.fetch")
    parser.add_argument("video", type=Path, help="a street scene")
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    options = parser.parse_args()
    grounder, vocabulary = load(options.weights), Vocabulary.read()
    every = [*stills(options.folder), *frames(options.video, 36)]
    street = list(frames(options.video, 10))
    phrases = ("white van", "red van", "person", "guitar", "wrench", "traffic cone", "butter", "street lamp")
    report = {
        "agreement, AP50": agreement(grounder, iter(every)),
        "false alarms, stills": false_alarms(grounder, stills(options.folder), vocabulary),
        "false alarms, street": false_alarms(grounder, iter(street), vocabulary),
        "street, part of frames": found_in(grounder, iter(street), phrases),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
