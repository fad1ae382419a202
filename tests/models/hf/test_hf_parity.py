"""Our split forward passes against transformers' own, with the same random weights and the same pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hf_tiny import FAMILIES, OWL_TOKENS, save_checkpoint
from torch import Tensor

from groundstream.models.base import Grounder
from groundstream.models.registry import load_grounder
from groundstream.models.types import Prompt, RawDetections

DINOS = ("grounding-dino", "mm-grounding-dino")
PROMPTS = (
    Prompt.of(["a red car", "person with hat", "cat"]),
    Prompt.of(["dog", "the small white van", "cats"]),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: save_checkpoint(family, tmp_path_factory.mktemp(family)) for family in FAMILIES}


@cache
def load(folder: Path, dtype: str = "float32") -> Grounder:
    return load_grounder(str(folder), device="cpu", dtype=dtype)


def pictures(grounder: Grounder, count: int, canvas: tuple[int, int] = (96, 128), seed: int = 0) -> Tensor:
    """Return (count, H, W, 3) uint8 pictures with coarse random patches."""
    rule = grounder.size_rule
    height, width = canvas if rule.kind == "short_side" else (rule.height_px, rule.width_px)
    coarse = torch.randn(count, 3, 7, 7, generator=torch.Generator().manual_seed(seed)) * 60 + 128
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return fine.clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8)


def full(pixels: Tensor) -> Tensor:
    return torch.tensor([pixels.shape[1:3]] * len(pixels))


def ask(
    grounder: Grounder, pixels: Tensor, content: Tensor, prompts: Sequence[Prompt]
) -> list[RawDetections]:
    texts = grounder.encode_text(prompts)
    return grounder.detect(pixels, content, [[text] for text in texts], floor=0.0)


@torch.no_grad()
def reference(grounder: Any, folder: Path, pixels: Tensor, content: Tensor, prompts: Sequence[Prompt]) -> Any:
    """Return transformers' (B, Q, P) phrase scores and (B, Q, 4) xyxy boxes in canvas pixels."""
    model = grounder.model_class.from_pretrained(folder).eval()
    values = grounder.pixel_values(pixels, content)
    build = {"owlvit": _owl, "owlv2": _owl, "omdet-turbo": _omdet}.get(grounder.family, _dino)
    scores, boxes = build(model, grounder.tokenizer, values, content, prompts)
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    xyxy = torch.cat((centre - half, centre + half), -1)
    extent = content if grounder.family in DINOS else full(pixels)
    return scores, xyxy * extent.flip(1).repeat(1, 2)[:, None]


def _dino(model: Any, tokenizer: Any, values: Tensor, content: Tensor, prompts: Sequence[Prompt]) -> Any:
    texts = [". ".join(prompt.phrases).lower() + "." for prompt in prompts]
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    mask = torch.zeros(values.shape[0], *values.shape[2:], dtype=torch.int64)
    for row, (height, width) in enumerate(content.tolist()):
        mask[row, :height, :width] = 1
    out = model(pixel_values=values, pixel_mask=mask, **encoded)
    scores = torch.zeros(*out.logits.shape[:2], max(len(prompt.phrases) for prompt in prompts))
    for row, prompt in enumerate(prompts):
        start = 1
        for column, phrase in enumerate(prompt.phrases):
            length = len(tokenizer(phrase, add_special_tokens=False)["input_ids"])
            scores[row, :, column] = out.logits[row, :, start : start + length].sigmoid().amax(-1)
            start += length + 1
    return scores, out.pred_boxes


def _owl(model: Any, tokenizer: Any, values: Tensor, content: Tensor, prompts: Sequence[Prompt]) -> Any:
    phrases = [phrase for prompt in prompts for phrase in prompt.phrases]
    encoded = tokenizer(phrases, padding="max_length", max_length=OWL_TOKENS, return_tensors="pt")
    out = model(pixel_values=values, **encoded)
    return out.logits.sigmoid(), out.pred_boxes


def _omdet(model: Any, tokenizer: Any, values: Tensor, content: Tensor, prompts: Sequence[Prompt]) -> Any:
    def encode(texts: list[str], kind: str) -> dict[str, Tensor]:
        given = tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
        return {f"{kind}_{key}": value for key, value in given.items()}

    out = model(
        pixel_values=values,
        classes_structure=torch.tensor([len(prompt.phrases) for prompt in prompts]),
        **encode([phrase for prompt in prompts for phrase in prompt.phrases], "classes"),
        **encode([f"Detect {', '.join(prompt.phrases)}." for prompt in prompts], "tasks"),
    )
    return out.decoder_class_logits.sigmoid(), out.decoder_coord_logits


def best_first(scores: Tensor, boxes: Tensor) -> tuple[np.ndarray, np.ndarray]:
    order = scores.amax(1).argsort(descending=True, stable=True)
    return boxes[order].numpy(), scores[order].numpy()


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "omdet-turbo"])
@pytest.mark.parametrize("padded", [False, True])
def test_equals_transformers(folders: dict[str, Path], family: str, padded: bool) -> None:
    grounder = load(folders[family])
    pixels = pictures(grounder, 2)
    content = torch.tensor([[80, 128], [96, 100]]) if padded and family in DINOS else full(pixels)
    expected_scores, expected_boxes = reference(grounder, folders[family], pixels, content, PROMPTS)
    for row, raw in enumerate(ask(grounder, pixels, content, PROMPTS)):
        boxes, scores = best_first(expected_scores[row], expected_boxes[row])
        assert len(raw.boxes_model) == len(boxes)
        np.testing.assert_allclose(raw.phrase_scores, scores, atol=1e-4)
        np.testing.assert_allclose(raw.boxes_model, boxes, atol=1e-3 * max(pixels.shape[1:3]))


def greedy(boxes: Tensor, scores: Tensor, overlap_iou: float) -> Tensor:
    """Return the scores that class-wise suppression, written as plainly as can be, leaves."""
    kept = torch.zeros_like(scores)
    for column in range(scores.shape[1]):
        chosen: list[int] = []
        for row in scores[:, column].argsort(descending=True).tolist():
            if all(iou(boxes[row].tolist(), boxes[other].tolist()) <= overlap_iou for other in chosen):
                chosen.append(row)
                kept[row, column] = scores[row, column]
    return kept


def iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / total if total else 0.0


def test_omdet_turbo_equals_transformers(folders: dict[str, Path]) -> None:
    grounder = load(folders["omdet-turbo"])
    pixels = pictures(grounder, 2)
    expected_scores, expected_boxes = reference(
        grounder, folders["omdet-turbo"], pixels, full(pixels), PROMPTS
    )
    for row, raw in enumerate(ask(grounder, pixels, full(pixels), PROMPTS)):
        kept = greedy(expected_boxes[row], expected_scores[row], overlap_iou=0.5)
        alive = kept.amax(1) > 0
        boxes, scores = best_first(kept[alive], expected_boxes[row][alive].clamp(0, 128))
        assert 0 < len(boxes) < len(expected_boxes[row])
        np.testing.assert_allclose(raw.phrase_scores, scores, atol=1e-4)
        np.testing.assert_allclose(raw.boxes_model, boxes, atol=1e-3 * 128)


@pytest.mark.parametrize("family", FAMILIES)
def test_picture_alone_equals_picture_in_batch(folders: dict[str, Path], family: str) -> None:
    grounder = load(folders[family])
    pixels = pictures(grounder, 3)
    content = torch.tensor([[96, 128], [80, 128], [96, 90]]) if family in DINOS else full(pixels)
    prompts = (
        Prompt.of(["cat"]),
        PROMPTS[1],
        Prompt.of(["a red car", "dog", "hat", "van", "person with hat"]),
    )
    together = ask(grounder, pixels, content, prompts)
    for row, prompt in enumerate(prompts):
        alone = ask(grounder, pixels[row : row + 1], content[row : row + 1], [prompt])[0]
        assert together[row].phrase_scores.shape == alone.phrase_scores.shape
        np.testing.assert_allclose(together[row].phrase_scores, alone.phrase_scores, atol=1e-5)
        np.testing.assert_allclose(together[row].boxes_model, alone.boxes_model, atol=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_stays_near_float32(folders: dict[str, Path], family: str) -> None:
    exact, rough = load(folders[family]), load(folders[family], "bfloat16")
    pixels = pictures(exact, 1)
    texts = exact.encode_text(PROMPTS[:1])
    wide = [g.encode_image(pixels, full(pixels)).levels for g in (exact, rough)]
    for level, (fine, coarse) in enumerate(zip(*wide, strict=True)):
        assert coarse.dtype == torch.bfloat16, level
        assert (fine - coarse.float()).abs().mean() < 0.05 * fine.abs().mean(), level
    best = [g.detect(pixels, full(pixels), [texts], 0.0)[0].phrase_scores.max() for g in (exact, rough)]
    assert abs(best[0] - best[1]) < 0.05
    assert rough.encode_text(PROMPTS[:1])[0].tokens.equal(texts[0].tokens)
