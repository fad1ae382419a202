"""Train the open branch of glip-nano: `python -m training.nano.train --config FILE`.

Steps, each of which leaves files in the recipe's folder and is skipped when they are there, so that a stopped
run goes on where it was:
1. `objects/`: region features of scenes; `objects.safetensors`: what a thing is.
2. `names/`: raw features inside proposed boxes; `names-ROUND.safetensors`: what things are called, in rounds.
   A round starts from the mean of the rounds before it; the mean of all of them is kept.
3. the weight file: the branch with its dictionary beside the frozen network.

`log.jsonl` has a line per epoch, `curves.svg` draws it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from groundstream.models.common.tensor_file import checksum, read_tensors, write_tensors
from groundstream.models.errors import ModelError
from groundstream.models.nano.config import SHIPPED, NanoConfig
from groundstream.models.nano.open_branch import PREFIX, OpenBranch, Scale
from groundstream.models.nano.open_head import OpenConfig, OpenHead
from groundstream.models.nano.text import LOWEST_GATE, TextEncoder
from training.nano.cache import (
    Frozen,
    Renderer,
    read_file,
    write_names,
    write_objects,
)
from training.nano.calibrate import (
    Answers,
    Known,
    fit_biases,
    photograph_answers,
    scene_answers,
)
from training.nano.curves import draw_curves
from training.nano.names import (
    NamesRecipe,
    accuracy,
    allowed_concepts,
    batches,
    first_reduction,
    kinds_of,
    names_loss,
    read_names,
)
from training.nano.objects import cells_of, find_truth, objects_loss, recall
from training.nano.recipe import GrounderRecipe
from training.nano.store import branch_tensors
from training.nano.words import open_words
from training.scenes.bank import SPLITS, STYLES, TRAIN, Bank
from training.scenes.generator import SceneConfig
from training.scenes.vocabulary import Vocabulary

#: kinds of which things are seen on people, where the frozen network says "person".
ON_PEOPLE = frozenset(("body part", "clothing"))
OBJECTS_BATCH = 8


def train(recipe: GrounderRecipe, weights: Path) -> None:
    """Go through all steps of `recipe` and write the branch into the weight file `weights`."""
    started = time.time()
    concepts = pictured_concepts(recipe.bank)
    head = train_objects(recipe, len(concepts))
    head = train_names(recipe, head, concepts)
    tensors = {key: value for key, value in read_tensors(weights).items() if not key.startswith(PREFIX)}
    vocabulary = Vocabulary.read()
    alike = classes_of(vocabulary, concepts, TextEncoder.from_tensors(tensors))
    words = open_words(vocabulary, concepts, recipe.wordnet)
    branch = OpenBranch(head, words, alike, recipe.scale, torch.zeros(len(concepts)))
    branch = calibrate(recipe, branch, concepts)
    write_tensors(weights, tensors | branch_tensors(branch))
    _log(recipe.folder, {"step": "all", "minutes": round((time.time() - started) / 60, 1)})


def pictured_concepts(bank: Path) -> list[str]:
    """Return, sorted, the concepts that the bank has pictures of for training."""
    return sorted({s.concept for s in Bank.open(bank).sprites if STYLES[s.style].training})


def classes_of(vocabulary: Vocabulary, concepts: Sequence[str], encoder: TextEncoder) -> Tensor:
    """Return (C, 80) float32: 1 where a word of a concept, or of its kinds, opens a frozen classifier."""
    rows = []
    for name in concepts:
        kinds = vocabulary.kinds(name)
        may_be = (encoder.gates([*vocabulary.concepts[name].words, *kinds]) >= LOWEST_GATE).any(0)
        may_be[0] |= not ON_PEOPLE.isdisjoint((name, *kinds))
        rows.append(may_be)
    return torch.stack(rows).float()


def train_objects(recipe: GrounderRecipe, concepts: int) -> OpenHead:
    """Train what a thing is, or read what an earlier run has trained."""
    torch.manual_seed(recipe.seed)
    head, path = OpenHead(OpenConfig(), NanoConfig(), concepts), recipe.folder / "objects.safetensors"
    files = render(recipe, "objects", recipe.files_objects, None)
    if not path.exists():
        _fit_objects(recipe, head, files)
        _save(head.objects.state_dict(), path)
    head.objects.load_state_dict(load_file(path))
    return head.eval()


def _fit_objects(recipe: GrounderRecipe, head: OpenHead, files: Sequence[Path]) -> None:
    side = SceneConfig.width_px
    anchors, counts = cells_of(head.strides_px, side)
    *learnt, held_out = [read_file(path)[0] for path in files]
    pairs = [
        (regions, find_truth(boxes, anchors, counts))
        for tensors in learnt
        for regions, boxes in zip(tensors["regions"], tensors["boxes"], strict=True)
    ]
    steps = recipe.objects_epochs * (len(pairs) // OBJECTS_BATCH)
    optimizer = torch.optim.AdamW(head.objects.parameters(), recipe.objects_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.objects_rate, steps + 1, pct_start=0.1)
    random = np.random.default_rng(recipe.seed)
    for epoch in range(recipe.objects_epochs):
        total = 0.0
        order = random.permutation(len(pairs))
        for first in range(0, len(pairs) - OBJECTS_BATCH + 1, OBJECTS_BATCH):
            chosen = [pairs[row] for row in order[first : first + OBJECTS_BATCH]]
            regions = torch.stack([regions for regions, _ in chosen]).float()
            loss = objects_loss(head, regions, [truth for _, truth in chosen], counts)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item()
        found = recall(head, held_out["regions"], held_out["boxes"], side)
        mean = total / max(len(pairs) // OBJECTS_BATCH, 1)
        _log(recipe.folder, {"step": "objects", "epoch": epoch, "loss": mean, "recall": found})


def train_names(recipe: GrounderRecipe, head: OpenHead, concepts: Sequence[str]) -> OpenHead:
    """Train what things are called, round by round; return the mean of the rounds."""
    files = render(recipe, "names", recipe.files_names, head)
    held_out = render(recipe, "names", 1, head, "unseen-compositions")
    vocabulary = Vocabulary.read()
    allowed, kinds = allowed_concepts(vocabulary, concepts), kinds_of(vocabulary, concepts)
    first_reduction(head, read_names(files[0], allowed, len(concepts)).described.float())
    states: list[dict[str, Tensor]] = []
    for number, names_recipe in enumerate(recipe.rounds):
        path = recipe.folder / f"names-{number}.safetensors"
        if not path.exists():
            _fit_names(recipe, names_recipe, number, head, files, held_out[0], allowed, kinds)
            _save(head.state_dict(), path)
        states.append(load_file(path))
        head.load_state_dict({key: sum(s[key] for s in states) / len(states) for key in states[0]})
    return head.eval()


def _fit_names(
    recipe: GrounderRecipe,
    names_recipe: NamesRecipe,
    number: int,
    head: OpenHead,
    files: Sequence[Path],
    held_out: Path,
    allowed: Mapping[str, Tensor],
    kinds: Tensor,
) -> None:
    """Train one round, in bfloat16 with float32 weights; `head` becomes the running mean of the weights."""
    nothing = head.concepts.out_features - 1
    boxes = sum(len(read_file(path)[0]["labels"]) for path in files)
    steps = names_recipe.epochs * (boxes // names_recipe.batch + len(files))
    learning = [value for name, value in head.named_parameters() if not name.startswith("objects")]
    optimizer = torch.optim.AdamW(learning, names_recipe.rate, weight_decay=names_recipe.decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, names_recipe.rate, steps, pct_start=0.1)
    least = names_recipe.mean
    mean = AveragedModel(head, avg_fn=lambda old, new, count: old + (new - old) * max(least, 4 / (4 + count)))
    part = recipe.folder / f"names-{number}.part.pt"
    start = _resume(part, head, mean, optimizer, schedule)
    truth = read_names(held_out, allowed, nothing)
    for epoch in range(start, names_recipe.epochs):
        losses = []
        random = np.random.default_rng([recipe.seed, number, epoch])
        torch.manual_seed(recipe.seed + 1000 * number + epoch)
        for batch in batches(files, allowed, nothing, names_recipe.batch, random):
            with torch.autocast("cpu", torch.bfloat16):
                named, box = names_loss(head, batch, names_recipe, kinds)
            optimizer.zero_grad()
            torch.autograd.backward(named + box)
            optimizer.step()
            schedule.step()
            mean.update_parameters(head)
            losses.append((named.item(), box.item()))
        right, quiet = accuracy(mean.module, truth)  # type: ignore[arg-type]  # torch types it as Module
        name_loss, box_loss = np.mean(losses, 0).tolist()
        line = {"step": "names", "round": number, "epoch": epoch, "loss": name_loss, "box": box_loss}
        _log(recipe.folder, line | {"right": right, "nothing": quiet})
        state = {"head": head.state_dict(), "mean": mean.state_dict(), "epoch": epoch + 1}
        state |= {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
        torch.save(state, part)
    head.load_state_dict(mean.module.state_dict())
    part.unlink(missing_ok=True)


def _resume(
    path: Path,
    head: OpenHead,
    mean: AveragedModel,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> int:
    """Take up a round that was stopped; return the epoch to go on with."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    head.load_state_dict(state["head"])
    mean.load_state_dict(state["mean"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return int(state["epoch"])


def calibrate(recipe: GrounderRecipe, branch: OpenBranch, concepts: Sequence[str]) -> OpenBranch:
    """Fit the biases of the concepts and the shift of all; return the branch with them."""
    state = branch_tensors(branch)
    names = [*(f"scenes-{n:04d}" for n in range(recipe.files_calibration)), "photographs"]
    # What another branch said is of no use.
    folder = recipe.folder / f"calibration-{checksum(state)[:12]}"
    paths = [folder / f"{name}.safetensors" for name in names]
    missing = [(number, path) for number, path in enumerate(paths) if not path.exists()]
    if missing:
        with ProcessPoolExecutor(recipe.processes, get_context("spawn")) as pool:
            jobs = [
                pool.submit(_answer_file, recipe, state, concepts, number, path) for number, path in missing
            ]
            for job in jobs:
                job.result()
    *scenes, photographs = [Answers(**read_file(path)[0]) for path in paths]
    shift, bias = fit_biases(Answers.join(scenes), photographs, recipe.prior)
    _log(recipe.folder, {"step": "calibration", "shift": shift, "spread": float(bias.std())})
    first, known, per_concept = branch.scale
    return replace(branch, scale=Scale(first + shift, known + shift, per_concept), bias=bias)


def _answer_file(
    recipe: GrounderRecipe, state: dict[str, Tensor], concepts: Sequence[str], number: int, path: Path
) -> None:
    """Write what the branch says of some scenes or, as the last file, of photographs."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    bank, vocabulary, frozen = Bank.open(recipe.bank), Vocabulary.read(), Frozen()
    branch = OpenBranch.from_tensors(state, NanoConfig())
    known = Known({name: row for row, name in enumerate(concepts)}, allowed_concepts(vocabulary, concepts))
    if number < recipe.files_calibration:
        # Other scenes than those that names, or objects, were learnt on.
        scene = scene_of(recipe, recipe.seed + 2)
        renderer = Renderer(bank, vocabulary, TRAIN, scene, frozen)
        answers = scene_answers(
            renderer, branch, known, number * recipe.scenes_per_file, recipe.scenes_per_file
        )
    else:
        answers = photograph_answers(frozen, branch, known, bank.calibration, recipe.crops, recipe.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    _save(answers._asdict(), path)


def render(
    recipe: GrounderRecipe, kind: str, files: int, head: OpenHead | None, split: str = TRAIN.name
) -> list[Path]:
    """Return the files of one kind; those that are missing are made, in processes of their own."""
    paths = [recipe.folder / kind / f"{split}-{number:04d}.safetensors" for number in range(files)]
    missing = [(number, path) for number, path in enumerate(paths) if not path.exists()]
    state = None if head is None else head.state_dict()
    if missing:
        with ProcessPoolExecutor(recipe.processes, get_context("spawn")) as pool:
            jobs = [pool.submit(_render_file, recipe, split, state, number, path) for number, path in missing]
            for job in jobs:
                job.result()
    return paths


def _render_file(
    recipe: GrounderRecipe, split: str, state: dict[str, Tensor] | None, number: int, path: Path
) -> None:
    """Make one file; `state` is the head that proposes boxes for names, None makes an `objects` file."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    bank, vocabulary = Bank.open(recipe.bank), Vocabulary.read()
    # Names are learnt on other scenes than objects.
    scene = scene_of(recipe, recipe.seed + (state is not None))
    renderer = Renderer(bank, vocabulary, SPLITS[split], scene, Frozen())
    start, count = number * recipe.scenes_per_file, recipe.scenes_per_file
    if state is None:
        write_objects(renderer, start, count, path)
        return
    concepts = pictured_concepts(recipe.bank)
    head = OpenHead(OpenConfig(), NanoConfig(), len(concepts))
    head.load_state_dict(state)
    write_names(renderer, head.eval(), concepts, start, count, path)


def scene_of(recipe: GrounderRecipe, seed: int) -> SceneConfig:
    """Return what the scenes of a training look like; nothing is asked about them."""
    return SceneConfig(seed=seed, restyle=recipe.restyle, solid=recipe.solid, phrases=0, present=0)


def _log(folder: Path, line: Mapping[str, float | str]) -> None:
    print(json.dumps(line), flush=True)
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps({"time_s": round(time.time(), 1), **line}) + "\n")
    draw_curves(folder / "log.jsonl", folder / "curves.svg")


def _save(state: Mapping[str, Tensor], path: Path) -> None:
    save_file({key: value.contiguous() for key, value in state.items()}, path)


def main() -> None:
    """Train by a recipe and write the branch into the weight file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="a recipe, see grounder.json")
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--threads", type=int, default=1, help="of the training itself")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        train(GrounderRecipe.read(options.config), options.weights)
    except (OSError, ValueError, ModelError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
