"""Arithmetic of boxes: forms, overlap, suppression, jitter.

A box is `xyxy` (left, top, right, bottom) where nothing else is said; the unit is the caller's, and a box whose sides
have changed places has no area.

    IoU  = area of the intersection / area of the union
    GIoU = IoU - (area of the hull - area of the union) / area of the hull          (Rezatofighi et al. 2019)

IoU lies between 0 and 1, GIoU between -1 and IoU: it still tells apart boxes that do not meet. Both are 0 where the
area that they divide by is.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deixis.ops.precision import to_float32

__all__ = [
    "BoxForm",
    "box_area",
    "box_clip",
    "box_convert",
    "box_jitter",
    "box_union",
    "giou",
    "iou",
    "nms",
    "pairwise_giou",
    "pairwise_iou",
]

BoxForm: TypeAlias = Literal["xyxy", "xywh", "cxcywh"]
"""Two corners; the upper left corner and the size; the centre and the size."""


def box_convert(boxes: Float[Tensor, "*B 4"], source: BoxForm, target: BoxForm) -> Float[Tensor, "*B 4"]:
    """The same boxes in another form.

    >>> box_convert(torch.tensor([2.0, 4.0, 2.0, 4.0]), "cxcywh", "xyxy").tolist()
    [1.0, 2.0, 3.0, 6.0]
    """
    first, second = boxes[..., :2], boxes[..., 2:]
    if source == "xyxy":
        first, second = (first + second) / 2, second - first
    elif source == "xywh":
        first = first + second / 2
    if target == "xyxy":
        first, second = first - second / 2, first + second / 2
    elif target == "xywh":
        first = first - second / 2
    return boxes if source == target else torch.cat([first, second], dim=-1)


def box_clip(boxes: Float[Tensor, "*B 4"], width: float = 1.0, height: float = 1.0) -> Float[Tensor, "*B 4"]:
    """What of each box lies inside the image; a box outside it is left with no area, at its edge."""
    return torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))


def box_area(boxes: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B"]:
    """Width times height, 0 where a side is turned round."""
    return _area(*boxes.unbind(-1))


def box_union(boxes: Float[Tensor, "*B T 4"], valid: Bool[Tensor, "*B T"] | None = None) -> Float[Tensor, "*B 4"]:
    """The smallest box around all of the T boxes; all zeros where none of them is valid.

    Args:
        boxes: several of each row.
        valid: which of them are real; all by default.
    """
    real = torch.ones(boxes.shape[:-1], dtype=torch.bool, device=boxes.device) if valid is None else valid
    low = boxes[..., :2].masked_fill(~real[..., None], torch.inf).amin(-2)
    high = boxes[..., 2:].masked_fill(~real[..., None], -torch.inf).amax(-2)
    return torch.cat([low, high], dim=-1).masked_fill(~real.any(-1)[..., None], 0.0)


def iou(boxes: Float[Tensor, "*#B 4"], others: Float[Tensor, "*#B 4"]) -> Float[Tensor, "*B"]:
    """Intersection over union, box by box; in float32 at least."""
    inside, union, _ = _overlap(to_float32(boxes), to_float32(others))
    return _ratio(inside, union)


def giou(boxes: Float[Tensor, "*#B 4"], others: Float[Tensor, "*#B 4"]) -> Float[Tensor, "*B"]:
    """Generalised intersection over union, box by box; in float32 at least."""
    inside, union, hull = _overlap(to_float32(boxes), to_float32(others))
    return _ratio(inside, union) - _ratio(hull - union, hull)


def pairwise_iou(boxes: Float[Tensor, "*B N 4"], others: Float[Tensor, "*B M 4"]) -> Float[Tensor, "*B N M"]:
    """`iou` of each box with each of the others."""
    return iou(boxes[..., :, None, :], others[..., None, :, :])


def pairwise_giou(boxes: Float[Tensor, "*B N 4"], others: Float[Tensor, "*B M 4"]) -> Float[Tensor, "*B N M"]:
    """`giou` of each box with each of the others."""
    return giou(boxes[..., :, None, :], others[..., None, :, :])


def _overlap(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Areas of intersection, union and hull; side by side, as reductions over two numbers are slow."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = boxes.unbind(-1), others.unbind(-1)
    inside = _area(torch.maximum(ax0, bx0), torch.maximum(ay0, by0), torch.minimum(ax1, bx1), torch.minimum(ay1, by1))
    hull = _area(torch.minimum(ax0, bx0), torch.minimum(ay0, by0), torch.maximum(ax1, bx1), torch.maximum(ay1, by1))
    return inside, _area(ax0, ay0, ax1, ay1) + _area(bx0, by0, bx1, by1) - inside, hull


def _area(x0: Tensor, y0: Tensor, x1: Tensor, y1: Tensor) -> Tensor:
    return (x1 - x0).clamp(min=0) * (y1 - y0).clamp(min=0)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """0 where the whole is; the gradient is finite there, too."""
    empty = whole <= 0
    return (part / whole.masked_fill(empty, 1.0)).masked_fill(empty, 0.0)


def nms(
    boxes: Float[Tensor, "N 4"],
    scores: Float[Tensor, " N"],
    threshold: float,
    classes: Int64[Tensor, " N"] | None = None,
) -> Int64[Tensor, " k"]:
    """Non-maximum suppression: the boxes that are left, best first, when each of them removes what overlaps it.

    Args:
        boxes: of one image.
        scores: of each; of equal ones the first comes first.
        threshold: a box whose IoU with a better one that is left lies above it is removed.
        classes: of each box, if only boxes of one class remove one another.
    """
    order = scores.argsort(descending=True, stable=True)
    close = pairwise_iou(boxes[order], boxes[order]) > threshold
    if classes is not None:
        close &= classes[order][:, None] == classes[order]
    removes, kept = close.cpu().numpy(), np.ones(len(order), dtype=bool)
    for place in range(len(order)):
        if kept[place]:
            kept[place + 1 :] &= ~removes[place, place + 1 :]
    return order[torch.from_numpy(kept).to(order.device)]


def box_jitter(boxes: Float[Tensor, "*B 4"], amount: float, rng: torch.Generator) -> Float[Tensor, "*B 4"]:
    """Boxes (0 to 1) moved and resized at random, cut at the edges of the image.

    Args:
        boxes: inside the image.
        amount: a centre moves by up to this share of its box's size, and a side becomes up to exp(amount) times as long
            or as short; from 0 to 0.5, so that something of each box stays inside.
        rng: on the CPU.

    Raises:
        ValueError: the amount is out of its range.
    """
    if not 0 <= amount <= 0.5:
        raise ValueError(f"amount is {amount}: it must be between 0 and 0.5.")
    noise = (torch.rand(boxes.shape, generator=rng) * 2 - 1).to(boxes) * amount
    centre, size = box_convert(boxes, "xyxy", "cxcywh").chunk(2, dim=-1)
    moved = torch.cat([centre + noise[..., :2] * size, size * noise[..., 2:].exp()], dim=-1)
    return box_clip(box_convert(moved, "cxcywh", "xyxy"))
