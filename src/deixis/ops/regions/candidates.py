"""Candidates among which a phrase means one: where they lie, how they differ from their like, which of them are right.

A box is x0 y0 x1 y1 in shares of its image.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deixis.ops.precision import to_float32
from deixis.ops.regions.boxes import box_convert, pairwise_iou

__all__ = ["geometry5", "geometry7", "pixel_iou", "right_candidates", "visual_difference"]

_EQUAL = 1e-6


def geometry5(boxes: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 5"]:
    """Both corners from -1 to 1, and the area in that unit (Zhang, Niu and Chang 2018).

    >>> geometry5(torch.tensor([0.0, 0.5, 1.0, 1.0])).tolist()
    [-1.0, 0.0, 1.0, 1.0, 2.0]
    """
    corners = 2 * boxes - 1
    sides = corners[..., 2:] - corners[..., :2]
    return torch.cat([corners, sides.prod(-1, keepdim=True)], dim=-1)


def geometry7(boxes: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 7"]:
    """Both corners, width, height, and area, all in shares of the image (Chen et al. 2020).

    >>> geometry7(torch.tensor([0.0, 0.5, 1.0, 1.0])).tolist()
    [0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.5]
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    return torch.cat([boxes, sides, sides.prod(-1, keepdim=True)], dim=-1)


def visual_difference(
    features: Float[Tensor, "*B T F"], kinds: Int64[Tensor, "*B T"], valid: Bool[Tensor, "*B T"]
) -> Float[Tensor, "*B T F"]:
    """The mean of (f_i - f_j) / |f_i - f_j| over the other regions j of the kind of i (Yu et al. 2016); zeros where
    there are none, and from regions that look the same.

    Args:
        features: of the regions.
        kinds: of the regions. Those of a detector, not of the labels: these would tell what is to be found.
        valid: which regions are real.
    """
    alike = (kinds[..., :, None] == kinds[..., None, :]) & valid[..., :, None] & valid[..., None, :]
    alike = alike & ~torch.eye(kinds.shape[-1], dtype=torch.bool, device=kinds.device)
    values = to_float32(features)
    apart = torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist")
    different = alike & (apart > _EQUAL)
    weights = different / apart.masked_fill(~different, 1.0) / alike.sum(-1, keepdim=True).clamp(min=1)
    return (values * weights.sum(-1, keepdim=True) - weights @ values).to(features)


def pixel_iou(
    boxes: Float[Tensor, "*B N 4"], others: Float[Tensor, "*B M 4"], size: tuple[int, int]
) -> Float[Tensor, "*B N M"]:
    """IoU of each box with each of the others where the last pixel of a box counts, too: a box of no extent has one.
    Published numbers of referring expressions are of this form.

    Args:
        boxes: in shares of the image.
        others: the same.
        size: of the image, width and height in pixels.
    """
    scale = boxes.new_tensor([*size, *size])
    first, second = (box_convert(each * scale, "xyxy", "xywh") for each in (boxes, others))
    one = boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    return pairwise_iou(box_convert(first + one, "xywh", "xyxy"), box_convert(second + one, "xywh", "xyxy"))


def right_candidates(
    boxes: Float[Tensor, "*B T 4"],
    valid: Bool[Tensor, "*B T"],
    targets: Float[Tensor, "*B Q 4"],
    target_valid: Bool[Tensor, "*B Q"],
    overlap: float = 0.5,
) -> Bool[Tensor, "*B T"]:
    """Which candidates have an IoU of `overlap` or more with a box that is meant; there may be none.

    Args:
        boxes: of the candidates.
        valid: which candidates are real.
        targets: boxes that are meant.
        target_valid: which of these are real.
        overlap: from where on a candidate is right.
    """
    near = (pairwise_iou(boxes, targets) >= overlap) & target_valid[..., None, :]
    return near.any(-1) & valid
