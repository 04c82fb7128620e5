"""A region proposal network without classes: at each place how central it is in a thing, and how far its sides are.

    centerness = sqrt( min(l, r) / max(l, r) * min(t, b) / max(t, b) )            (Tian et al. 2019)

with l, t, r, b the distances of a place to the sides of its box. Trained so, what was never labelled is proposed, too
(Kim et al. 2022, object localisation network, which DITO takes over).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.regions.region_encoder import assign_levels
from deixis.ops.regions.boxes import box_area, iou, nms

__all__ = ["CentreProposals", "PlaceTargets", "place_targets", "places"]


class PlaceTargets(NamedTuple):
    """What a place should say.

    Attributes:
        centerness: 0 where it lies in no box of its level.
        boxes: the box that it lies in; all zeros where there is none.
        inside: whether there is one.
    """

    centerness: Float[Tensor, "B N"]
    boxes: Float[Tensor, "B N 4"]
    inside: Bool[Tensor, "B N"]


def places(sizes: Sequence[tuple[int, int]], device: torch.device) -> Float[Tensor, "N 3"]:
    """The middle of each cell of all levels, x and y from 0 to 1, and the number of its level.

    Args:
        sizes: rows and columns of the levels.
        device: of the result.
    """
    found = []
    for number, (height, width) in enumerate(sizes):
        y, x = torch.meshgrid(
            (torch.arange(height, device=device) + 0.5) / height,
            (torch.arange(width, device=device) + 0.5) / width,
            indexing="ij",
        )
        found.append(torch.stack([x, y, torch.full_like(x, number)], dim=-1).flatten(0, 1))
    return torch.cat(found)


def place_targets(
    boxes: Float[Tensor, "B T 4"], valid: Bool[Tensor, "B T"], sizes: Sequence[tuple[int, int]]
) -> PlaceTargets:
    """What each place of the levels should say; of several boxes it belongs to the smallest.

    Args:
        boxes: of things, from 0 to 1.
        valid: which are real.
        sizes: rows and columns of the levels; a box is of one of them, by its size.
    """
    points = places(sizes, boxes.device)
    count = boxes.shape[1]
    if not count:
        empty = boxes.new_zeros(len(boxes), len(points))
        return PlaceTargets(empty, boxes.new_zeros(*empty.shape, 4), empty.bool())
    level, (x, y) = points[:, 2].long(), points[:, :2].to(boxes).T
    sides = _sides(boxes[:, None], x[:, None], y[:, None])  # [B, N, T, 4]
    here = (sides > 0).all(dim=-1) & valid[:, None] & (assign_levels(boxes, sizes)[:, None] == level[:, None])
    areas = box_area(boxes)[:, None].expand_as(here).masked_fill(~here, torch.inf)
    least, owner = areas.min(dim=-1)
    inside = least.isfinite()
    own = sides.gather(2, owner[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
    near, far = (torch.minimum, torch.maximum)
    ratio = [near(own[..., i], own[..., i + 2]) / far(own[..., i], own[..., i + 2]).clamp(min=1e-8) for i in (0, 1)]
    centerness = (ratio[0] * ratio[1]).clamp(min=0).sqrt() * inside
    chosen = boxes.gather(1, owner[..., None].expand(-1, -1, 4)) * inside[..., None]
    return PlaceTargets(centerness, chosen, inside)


def _sides(boxes: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Distances to the left, the top, the right and the bottom."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    return torch.stack([x - x0, y - y0, x1 - x, y1 - y], dim=-1)


class CentreProposals(nn.Module):
    """One convolution that all levels share, and at each place centerness and sides.

    Args:
        width: of the levels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(width, width, 3, padding=1)
        self.centre, self.sides = nn.Conv2d(width, 1, 1), nn.Conv2d(width, 4, 1)

    def forward(
        self, levels: Sequence[Float[Tensor, "B c _h _w"]]
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N 4"]]:
        """The logits of centerness, and a box a place, from 0 to 1 but not cut at the edges.

        Args:
            levels: of a pyramid, from the finest to the coarsest.
        """
        logits, boxes = [], []
        for each in levels:
            states = F.relu(self.shared(each))
            height, width = each.shape[2:]
            x, y, _ = places([(height, width)], each.device).to(each).T
            cells = each.new_tensor([width, height, width, height])
            # softplus of 0 is 0.7 of a cell: boxes begin small, and are never turned round
            sides = 4 * F.softplus(self.sides(states)).flatten(2).transpose(1, 2) / cells
            logits.append(self.centre(states).flatten(1))
            boxes.append(torch.stack([x - sides[..., 0], y - sides[..., 1], x + sides[..., 2], y + sides[..., 3]], -1))
        return torch.cat(logits, dim=1), torch.cat(boxes, dim=1)

    @staticmethod
    def losses(
        logits: Float[Tensor, "B N"], boxes: Float[Tensor, "B N 4"], targets: PlaceTargets
    ) -> tuple[Float[Tensor, "B 2"], Float[Tensor, " B"], Float[Tensor, "B 2"]]:
        """Sums of each image: the L1 loss of centerness, of places inside and outside of boxes; 1 - IoU of those
        inside; and how many places there are of both kinds.

        Args:
            logits: as `forward` gives them.
            boxes: likewise.
            targets: see `place_targets`.
        """
        sides = torch.stack([targets.inside, ~targets.inside], dim=-1).to(logits)
        apart = (logits.sigmoid() - targets.centerness.to(logits)).abs()
        overlap = (1 - iou(boxes, targets.boxes.to(boxes))) * targets.inside
        return (apart[..., None] * sides).sum(dim=1), overlap.sum(dim=1), sides.sum(dim=1)

    @staticmethod
    @torch.no_grad()
    def chosen(
        logits: Float[Tensor, "B N"], boxes: Float[Tensor, "B N 4"], count: int, overlap: float
    ) -> tuple[Float[Tensor, "B Q 4"], Float[Tensor, "B Q"], Bool[Tensor, "B Q"]]:
        """The boxes that are left, cut at the edges, how sure it is of each, and which are real.

        Args:
            logits: as `forward` gives them.
            boxes: likewise.
            count: at the most (Q).
            overlap: beyond which the surer of two boxes removes the other.
        """
        found, scores = boxes.new_zeros(len(boxes), count, 4), boxes.new_zeros(len(boxes), count)
        valid = torch.zeros_like(scores, dtype=torch.bool)
        most = min(4 * count, logits.shape[1])
        for row, (chances, own) in enumerate(zip(logits.sigmoid(), boxes.clamp(0, 1), strict=True)):
            best = chances.topk(most).indices
            best = best[box_area(own[best]) > 0]
            left = best[nms(own[best].float(), chances[best].float(), overlap)][:count]
            found[row, : len(left)], scores[row, : len(left)] = own[left], chances[left]
            valid[row, : len(left)] = True
        return found, scores, valid
