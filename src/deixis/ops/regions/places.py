"""How well boxes fit words for places: sides, extremes, sizes, relations; each between 0 and 1.

Words such as "left of" are not sharp: what is just so gets about a half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.ops.regions.boxes import box_area, pairwise_iou

__all__ = ["EXTREMES", "RELATIONS", "extreme_scores", "relation_scores", "side_scores", "size_scores"]

_SAME, _OVERLAPPING = 0.7, 0.5
_SHARP, _MIDDLE, _REACH, _BESIDE = 10.0, 0.2, 0.1, 0.7


def _centre(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[..., 0] + boxes[..., 2]) / 2, (boxes[..., 1] + boxes[..., 3]) / 2


def side_scores(boxes: Float[Tensor, "N 4"], side: str) -> Float[Tensor, " N"]:
    """How well each box lies at a side of the image.

    Args:
        boxes: from 0 to 1.
        side: `left`, `right`, `top`, `bottom` or `middle`.
    """
    x, y = _centre(boxes)
    if side == "middle":
        return torch.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / (2 * _MIDDLE**2))
    along = {"left": 0.5 - x, "right": x - 0.5, "top": 0.5 - y, "bottom": y - 0.5}[side]
    return torch.sigmoid(_SHARP * along)


EXTREMES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "leftmost": lambda boxes: -_centre(boxes)[0],
    "rightmost": lambda boxes: _centre(boxes)[0],
    "topmost": lambda boxes: -_centre(boxes)[1],
    "lowest": lambda boxes: _centre(boxes)[1],
    "largest": box_area,
    "smallest": lambda boxes: -box_area(boxes),
    "tallest": lambda boxes: boxes[..., 3] - boxes[..., 1],
    "widest": lambda boxes: boxes[..., 2] - boxes[..., 0],
}
"""Superlative -> what is greatest of the box that is meant."""


def extreme_scores(boxes: Float[Tensor, "N 4"], chances: Float[Tensor, " N"], extreme: str) -> Float[Tensor, " N"]:
    """The chance that no other thing of the kind is more so than this one: prod over the others of (1 - chance).

    Boxes that overlap this one are taken for the same thing.

    Args:
        boxes: candidates.
        chances: that each is of the kind.
        extreme: one of `EXTREMES`.
    """
    value = EXTREMES[extreme](boxes)
    rivals = (value[None] > value[:, None]) & (pairwise_iou(boxes, boxes) < _OVERLAPPING)
    return torch.where(rivals, 1 - chances[None], torch.ones_like(chances)[None]).prod(1)


def size_scores(boxes: Float[Tensor, "N 4"], chances: Float[Tensor, " N"], size: str) -> Float[Tensor, " N"]:
    """How well a size fits each among its kind: the share of the others that are clearly larger, or smaller; a half
    where there is no other.

    Args:
        boxes: candidates.
        chances: that each is of the kind.
        size: `small`, `medium` or `large`.
    """
    area = box_area(boxes)
    other = chances[None] * (pairwise_iou(boxes, boxes) < _OVERLAPPING)
    larger = (other * (area[None] > 1.2 * area[:, None])).sum(1)
    smaller = (other * (area[None] < area[:, None] / 1.2)).sum(1)
    fits = {"small": larger, "large": smaller, "medium": 2 * torch.minimum(larger, smaller)}[size]
    return ((1 + 2 * fits) / (2 + 2 * (larger + smaller))).clamp(max=1.0)


RELATIONS = ("left", "right", "above", "below", "front", "behind", "near", "on", "with")
"""How a box may lie to another."""


def relation_scores(boxes: Float[Tensor, "N 4"], anchors: Float[Tensor, "M 4"], relation: str) -> Float[Tensor, "N M"]:
    """How well each box stands in a relation to each anchor; 0 where both are the same thing.

    Args:
        boxes: what is meant.
        anchors: what it is related to.
        relation: one of `RELATIONS`.
    """
    (x, y), (at_x, at_y) = _centre(boxes[:, None]), _centre(anchors[None])
    across, down = at_x - x, at_y - y
    gap = torch.maximum(
        torch.maximum(boxes[:, None, 0] - anchors[None, :, 2], anchors[None, :, 0] - boxes[:, None, 2]),
        torch.maximum(boxes[:, None, 1] - anchors[None, :, 3], anchors[None, :, 1] - boxes[:, None, 3]),
    ).clamp(min=0)
    near = torch.exp(-gap / _REACH)
    lower = torch.sigmoid(2 * _SHARP * (boxes[:, None, 3] - anchors[None, :, 3]))
    if relation in ("left", "right", "above", "below"):
        along = {"left": across, "right": -across, "above": down, "below": -down}[relation]
        aside = down if relation in ("left", "right") else across
        found = torch.sigmoid(2 * _SHARP * (along - 0.03)) * torch.sigmoid(_SHARP * (2 * along - aside.abs()))
    elif relation == "on":
        found = near * torch.sigmoid(2 * _SHARP * down)
    elif relation in ("front", "behind"):
        found = near * (lower if relation == "front" else 1 - lower)
    elif relation == "with":
        low = torch.maximum(boxes[:, None, :2], anchors[None, :, :2])
        inside = (torch.minimum(boxes[:, None, 2:], anchors[None, :, 2:]) - low).clamp(min=0).prod(-1)
        worn = inside / torch.minimum(box_area(boxes)[:, None], box_area(anchors)[None]).clamp(min=1e-9)
        found = torch.maximum(worn, _BESIDE * near)  # a man with a hat, and a man with a dog
    else:
        found = near
    return found * (pairwise_iou(boxes, anchors) < _SAME)
