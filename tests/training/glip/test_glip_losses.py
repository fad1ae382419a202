"""Assignment and losses on cases made by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from groundstream.models.glip.head import Predictions
from groundstream.models.glip.postprocess import anchors, encode
from training.glip.losses import (
    Target,
    assign,
    centerness_of,
    giou_loss,
    glip_losses,
    token_focal_loss,
)

SIZES = ((16, 16), (8, 8), (4, 4), (2, 2), (1, 1))
COUNTS = [height * width for height, width in SIZES]
AROUND = anchors(SIZES, torch.device("cpu"))
#: An object of the size of a P3 anchor, centred on the P3 position (5, 9) (row, column).
SMALL = torch.tensor([[44.0, 12.0, 107.0, 75.0]])


def test_the_matching_anchor_is_the_objects_own() -> None:
    owner = assign(AROUND, COUNTS, SMALL)
    assert owner[5 * 16 + 9] == 0
    own = (owner == 0).nonzero()[:, 0]
    # The eight neighbours at most, all of the level whose anchors have its size.
    assert 1 <= len(own) <= 9
    assert (own < COUNTS[0]).all()


def by_the_paper(boxes: Tensor) -> list[int]:
    """ATSS as its algorithm 1 writes it, one object and one anchor at a time."""
    best = [(-1.0, -1)] * len(AROUND)
    for g, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        chosen: list[tuple[int, float]] = []
        start = 0
        for count in COUNTS:
            centres = [
                (float(a[0] + a[2]) / 2, float(a[1] + a[3]) / 2) for a in AROUND[start : start + count]
            ]
            apart = [
                ((cx - (x0 + x1) / 2) ** 2 + (cy - (y0 + y1) / 2) ** 2, i)
                for i, (cx, cy) in enumerate(centres)
            ]
            for _, i in sorted(apart)[:9]:
                a = AROUND[start + i].tolist()
                w = max(0.0, min(a[2], x1) - max(a[0], x0) + 1)
                h = max(0.0, min(a[3], y1) - max(a[1], y0) + 1)
                both = (a[2] - a[0] + 1) * (a[3] - a[1] + 1) + (x1 - x0 + 1) * (y1 - y0 + 1)
                chosen.append((start + i, w * h / (both - w * h)))
            start += count
        overlaps = torch.tensor([overlap for _, overlap in chosen])
        threshold = float(overlaps.mean() + overlaps.std())
        for i, overlap in chosen:
            cx, cy = float(AROUND[i][0] + AROUND[i][2]) / 2, float(AROUND[i][1] + AROUND[i][3]) / 2
            if overlap >= threshold and x0 < cx < x1 and y0 < cy < y1 and overlap > best[i][0]:
                best[i] = (overlap, g)
    return [g for _, g in best]


def test_assignment_equals_the_papers_algorithm() -> None:
    # Off the grid, so that no two anchors are equally near.
    boxes = torch.tensor([[10.3, 20.7, 60.1, 90.2], [33.4, 31.2, 120.9, 118.3], [70.2, 5.1, 101.7, 44.6]])
    assert assign(AROUND, COUNTS, boxes).tolist() == by_the_paper(boxes)


def test_the_larger_overlap_wins() -> None:
    nearly = SMALL + torch.tensor([2.0, 2.0, -2.0, -2.0])
    assert assign(AROUND, COUNTS, torch.cat((nearly, SMALL)))[5 * 16 + 9] == 1
    assert assign(AROUND, COUNTS, torch.cat((SMALL, nearly)))[5 * 16 + 9] == 0


def test_no_object_is_all_background() -> None:
    assert (assign(AROUND, COUNTS, torch.zeros(0, 4)) == -1).all()


@pytest.mark.parametrize(
    ("box", "loss"),
    [
        ((0, 0, 10, 10), 0.0),
        ((0, 0, 10, 5), 0.5),
        ((10, 0, 20, 10), 1.0),
        ((20, 0, 30, 10), 1 + 1 / 3),  # apart: the gap of the enclosing box counts
        ((5, 5, 5, 5), 1.0),
    ],
)
def test_giou(box: tuple[float, ...], loss: float) -> None:
    wanted = torch.tensor([[0.0, 0, 10, 10]])
    assert float(giou_loss(torch.tensor([box], dtype=torch.float32), wanted)) == pytest.approx(loss, abs=1e-6)


def test_centerness() -> None:
    around = torch.tensor([[4.0, 4, 6, 6], [4, 4, 6, 6], [0, 0, 2, 2]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [3, 0, 11, 10], [1, 1, 9, 9]])
    assert centerness_of(around, boxes).tolist() == pytest.approx([1.0, (2 / 6) ** 0.5, 0.0])


def test_focal_loss_by_hand() -> None:
    probability = torch.tensor([[[0.9, 0.9, 0.2]]])
    loss = token_focal_loss(torch.logit(probability), torch.tensor([[[1.0, 0.0, 1.0]]]), torch.ones(1, 3))
    right, weight = torch.tensor([0.9, 0.1, 0.2]), torch.tensor([0.25, 0.75, 0.25])
    assert float(loss) == pytest.approx(float((-weight * (1 - right) ** 2 * right.log()).sum()), rel=1e-5)
    padded = token_focal_loss(
        torch.logit(probability), torch.ones(1, 1, 3), torch.tensor([[True, False, False]])
    )
    assert float(padded) == pytest.approx(-0.25 * 0.1**2 * float(right[0].log()), rel=1e-4)


def perfect(target: Target) -> Predictions:
    """Predictions that say exactly what the target says."""
    owner = assign(AROUND, COUNTS, target.boxes)
    own = owner >= 0
    logits = torch.full((len(AROUND), target.tokens.shape[1]), -12.0)
    logits[own] = target.tokens[owner[own]] * 24 - 12
    deltas, centerness = torch.zeros(len(AROUND), 4), torch.zeros(len(AROUND))
    deltas[own] = encode(target.boxes[owner[own]], AROUND[own])
    centerness[own] = torch.logit(centerness_of(AROUND[own], target.boxes[owner[own]]).clamp(1e-4, 1 - 1e-4))
    return Predictions(deltas[None], centerness[None], logits[None], SIZES)


def test_losses_fall_to_zero_at_the_truth() -> None:
    target = Target(SMALL, torch.tensor([[0.0, 1, 1, 0]]))
    mask = torch.ones(1, 4, dtype=torch.bool)
    at_truth = glip_losses(perfect(target), [target], mask)
    assert float(at_truth.alignment) < 1e-3
    assert float(at_truth.box) < 1e-3
    moved = perfect(target)._replace(deltas=perfect(target).deltas + 1)
    assert float(glip_losses(moved, [target], mask).box) > 0.1
    other = Target(SMALL, torch.tensor([[1.0, 0, 0, 0]]))
    assert float(glip_losses(perfect(target), [other], mask).alignment) > 1


def test_a_picture_without_objects_teaches_silence() -> None:
    shape = (1, len(AROUND))
    out = Predictions(
        torch.zeros(*shape, 4, requires_grad=True),
        torch.zeros(shape, requires_grad=True),
        torch.zeros(*shape, 3, requires_grad=True),
        SIZES,
    )
    losses = glip_losses(
        out, [Target(torch.zeros(0, 4), torch.zeros(0, 3))], torch.ones(1, 3, dtype=torch.bool)
    )
    assert losses.box.detach() == losses.centerness.detach() == 0
    losses.total.backward()
    assert out.logits.grad is not None
    assert (out.logits.grad > 0).all()


def test_every_picture_needs_a_target() -> None:
    target = Target(SMALL, torch.ones(1, 2))
    with pytest.raises(ValueError, match="expected 1 targets, one per picture, but got 2"):
        glip_losses(perfect(target), [target, target], torch.ones(1, 2, dtype=torch.bool))
