"""What the open branch of glip-nano makes of corrected maps: which of many concepts each box shows.

Boxes are drawn from what the branch proposes on the clean frame, and on the frame before it: where something
has left, the corrected maps must say so. Concepts that may be of a held-out class are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from groundstream.models.nano.open_branch import OpenBranch
from groundstream.models.nano.open_head import LARGEST_LOG_DISTANCE

#: boxes that are drawn from each frame; the frame before gives as many.
BOXES = 8
#: how much more an answer counts that is worse than the frozen model's own answer to the spoiled frame.
HARM = 2.0
#: how much a box counts that shows nothing.
NOTHING = 0.05


class Naming:
    """The names of boxes on spoiled and clean maps, compared.

    Args:
        branch: the open branch, frozen, float32.
        hidden: numbers of the classes that are held out.
    """

    def __init__(self, branch: OpenBranch, hidden: Sequence[int]) -> None:
        self._head = branch.head.eval().requires_grad_(False)
        shown = (branch.alike[:, list(hidden)] == 0).all(1)
        self._concepts = torch.cat((torch.nonzero(shown)[:, 0], torch.tensor([len(shown)])))

    def things(self, regions: Sequence[Tensor]) -> list[Tensor]:
        """Return what the branch proposes per level: (F, N, 5) logits and logarithms of distances.

        Args:
            regions: (F, N_l, 128) region features.
        """
        return [part(region) for part, region in zip(self._head.objects, regions, strict=True)]

    def __call__(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        frozen: Sequence[Tensor],
        things: Sequence[Tensor],
        length: int,
    ) -> Tensor:
        """Return the mean divergence of the names on corrected maps from those on the clean ones.

        Args:
            student: corrected maps of spoiled frames, (F, reduced, H, W) each, as `OpenHead.forward` takes
                them of one picture.
            teacher: of the clean frames.
            frozen: of the spoiled frames.
            things: what is proposed on the clean frames, see `things`.
            length: frames of each clip.
        """
        canvas = (
            teacher[1].shape[2] * self._head.strides_px[0],
            teacher[1].shape[3] * self._head.strides_px[0],
        )
        with torch.no_grad():
            own, score = self._draw(things, teacher[1:], canvas)
            boxes = torch.cat((own, before(own, length)), 1)
            wanted = self._names(teacher, boxes, canvas)
            plain = _divergence(wanted, self._names(frozen, boxes, canvas))
            weight = score * (NOTHING + 1 - wanted[:, :BOXES, -1].exp())
            weight = torch.cat((weight, before(weight, length)), 1)
        apart = _divergence(wanted, self._names(student, boxes, canvas))
        harmed = (apart > plain).detach()
        return (weight * apart * (1 + HARM * harmed)).sum() / weight.sum().clamp(min=1)

    def _draw(
        self, things: Sequence[Tensor], maps: Sequence[Tensor], canvas: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return (F, BOXES, 4) xyxy boxes in pixels, likelier ones more often, and their scores."""
        boxes = []
        for level, stride, part in zip(maps, self._head.strides_px, things, strict=True):
            rows, columns = torch.meshgrid(
                torch.arange(level.shape[2]), torch.arange(level.shape[3]), indexing="ij"
            )
            centres = (torch.stack((columns, rows), 2).view(-1, 2) + 0.5) * stride
            reach = part[..., 1:].clamp(max=LARGEST_LOG_DISTANCE).exp() * stride
            boxes.append(torch.cat((centres - reach[..., :2], centres + reach[..., 2:]), 2))
        score = torch.cat([part[..., 0] for part in things], 1).sigmoid()
        drawn = torch.multinomial(score.square() + 1e-6, BOXES)
        limit = torch.tensor([canvas[1], canvas[0]] * 2)
        every = torch.cat(boxes, 1).clamp(min=0).minimum(limit)
        return every.gather(1, drawn[..., None].expand(-1, -1, 4)), score.gather(1, drawn)

    def _names(self, maps: Sequence[Tensor], boxes: Tensor, canvas: tuple[int, int]) -> Tensor:
        """Return (F, K, C + 1) logarithms of the chances of the concepts that are asked for."""
        head = self._head
        described = torch.cat(
            [
                sample(level, boxes, points, canvas)
                for level, points in zip(maps, head.config.grid, strict=True)
            ],
            2,
        )
        embedded = F.linear(described, head.embed.weight, head.embed.bias).relu()
        named: Tensor = head.concepts(embedded)[..., self._concepts]
        return named.log_softmax(2)


def sample(level: Tensor, boxes: Tensor, points: int, canvas_px: tuple[int, int]) -> Tensor:
    """Return (F, K, points^2 * C): `sample_boxes` for many pictures, each with K boxes, and for gradients.

    Args:
        level: (F, C, H, W).
        boxes: (F, K, 4) xyxy in canvas pixels.
        points: grid points per direction.
        canvas_px: height and width of the canvas.
    """
    middles = (torch.arange(points) + 0.5) / points
    side = boxes.new_tensor([canvas_px[1], canvas_px[0]])
    start, end = boxes[..., :2] / side, boxes[..., 2:] / side
    places = (start[..., None, :] + (end - start)[..., None, :] * middles[:, None]) * 2 - 1  # (F, K, p, 2)
    across = places[..., 0][:, :, None, :].expand(-1, -1, points, -1)
    down = places[..., 1][..., None].expand(-1, -1, -1, points)
    grid = torch.stack((across, down), 4).flatten(2, 3)  # (F, K, p^2, 2)
    read = F.grid_sample(level, grid, padding_mode="border", align_corners=False)  # (F, C, K, p^2)
    return read.permute(0, 2, 3, 1).flatten(2)


def before(values: Tensor, length: int) -> Tensor:
    """Return (B * T, ...) values of the frame before in the same clip; the first frame's are its own."""
    clips = values.reshape(-1, length, *values.shape[1:])
    return torch.cat((clips[:, :1], clips[:, :-1]), 1).flatten(0, 1)


def _divergence(wanted: Tensor, given: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of chances whose logarithms are (..., C + 1)."""
    return F.kl_div(given, wanted, reduction="none", log_target=True).sum(-1)
