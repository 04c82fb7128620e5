"""Arithmetic of saliency maps: over an image each, finite on whatever is finite, constant maps among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "Combination",
    "blur",
    "combine",
    "depth_weights",
    "highest",
    "hits",
    "per_class",
    "resize",
    "spearman",
    "to_symmetric",
    "to_unit",
]

Combination = Literal["sum", "product", "plain_product"]


def resize(maps: Float[Tensor, "*B h w"], size: tuple[int, int]) -> Float[Tensor, "*B H W"]:
    """Maps at another size (rows, columns), by linear interpolation between the centres of cells."""
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    return F.interpolate(flat, size, mode="bilinear", align_corners=False).reshape(*maps.shape[:-2], *size)


def to_unit(maps: Float[Tensor, "*B h w"]) -> Float[Tensor, "*B h w"]:
    """Each map by itself stretched to 0 ... 1, its least and greatest value; a constant one is 0 everywhere."""
    least, greatest = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    flat = greatest == least
    return (maps - least) / torch.where(flat, torch.ones_like(least), greatest - least)


def to_symmetric(maps: Float[Tensor, "*B h w"]) -> Float[Tensor, "*B h w"]:
    """Each map by itself divided by its greatest absolute value: -1 ... 1, 0 stays 0."""
    greatest = maps.abs().amax((-2, -1), keepdim=True)
    return maps / torch.where(greatest == 0, torch.ones_like(greatest), greatest)


def depth_weights(count: int, kind: Literal["uniform", "linear"]) -> tuple[float, ...]:
    """Weights of layers from the first to the deepest: all 1, or 1/n, 2/n, ... 1."""
    return tuple(1.0 if kind == "uniform" else (place + 1) / count for place in range(count))


def combine(
    maps: Sequence[Float[Tensor, "*B H W"]], how: Combination = "product", weights: Sequence[float] | None = None
) -> Float[Tensor, "*B H W"]:
    """One map out of those of several layers, all of one size and between 0 and 1.

    Args:
        maps: of the layers.
        how: `sum`, the weighted mean; `product`, the weighted geometric mean; `plain_product`, without weights.
        weights: one a layer, not negative; only how they stand to one another counts. All the same by default.

    Raises:
        ValueError: the weights do not fit.
    """
    weights = [1.0] * len(maps) if weights is None else weights
    if len(weights) != len(maps) or min(weights) < 0 or not sum(weights) > 0:
        raise ValueError(f"weights {list(weights)} for {len(maps)} maps: one each is needed, and none below 0")
    stacked = torch.stack(list(maps))
    if how == "plain_product":
        return stacked.prod(0)
    shares = stacked.new_tensor(weights).div(sum(weights)).reshape(-1, *[1] * maps[0].dim())
    return (stacked * shares).sum(0) if how == "sum" else (stacked**shares).prod(0)


def blur(maps: Float[Tensor, "*B H W"], sigma: float) -> Float[Tensor, "*B H W"]:
    """Maps smoothed by a Gaussian, cut off at four deviations; beyond the edge the edge goes on.

    Args:
        maps: any number of maps.
        sigma: its deviation in cells; 0 changes nothing.
    """
    reach = int(4 * sigma + 0.5)
    if not reach:
        return maps
    places = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-0.5 * (places / sigma) ** 2)
    kernel = kernel / kernel.sum()
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), kernel.reshape(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), kernel.reshape(1, 1, -1, 1))
    return flat.reshape(maps.shape)


def highest(maps: Float[Tensor, "B H W"]) -> Int64[Tensor, "B 2"]:
    """Where each map is greatest, as column and row; of equal places the first, row by row."""
    place = maps.flatten(1).argmax(1)
    return torch.stack([place % maps.shape[-1], place // maps.shape[-1]], dim=1)


def hits(points: Int64[Tensor, "B 2"], masks: Bool[Tensor, "B H W"], tolerance: float = 15.0) -> Bool[Tensor, " B"]:
    """The pointing game: whether some pixel of the object lies nearer to the point than the tolerance.

    Args:
        points: column and row, as `highest` gives them.
        masks: the object's pixels.
        tolerance: in pixels; a pixel at just this distance is no hit (Zhang et al. 2018 play with 15).
    """
    rows = torch.arange(masks.shape[1], device=masks.device)[None, :, None]
    columns = torch.arange(masks.shape[2], device=masks.device)[None, None]
    apart = (columns - points[:, 0, None, None]) ** 2 + (rows - points[:, 1, None, None]) ** 2
    return (masks & (apart < tolerance**2)).flatten(1).any(1)


def per_class(hit: Bool[Tensor, " B"], classes: Int64[Tensor, " B"], count: int) -> Float[Tensor, " C"]:
    """The share of hits of each class; 0 for a class without examples. Its mean is the pointing game's accuracy.

    Args:
        hit: of each example.
        classes: of each example, below `count`.
        count: of all classes.
    """
    asked = torch.zeros(count, dtype=torch.float64, device=hit.device).index_add_(
        0, classes, torch.ones_like(hit).double()
    )
    found = torch.zeros_like(asked).index_add_(0, classes, hit.double())
    return found / asked.clamp(min=1)


def spearman(left: Float[Tensor, "B H W"], right: Float[Tensor, "B H W"]) -> Float[Tensor, " B"]:
    """Spearman's rank correlation of two maps, for each pair; equal values share their mean rank.

    NaN where one is constant: there is nothing to rank.
    """
    a, b = (_centred_ranks(each.flatten(1)) for each in (left, right))
    lengths = a.square().sum(1) * b.square().sum(1)
    correlation = (a * b).sum(1) / lengths.sqrt().clamp(min=1e-300)
    return torch.where(lengths > 0, correlation, torch.full_like(correlation, math.nan))


def _centred_ranks(rows: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
    ordered = rows.sort(1).values
    below = torch.searchsorted(ordered, rows.contiguous())
    until = torch.searchsorted(ordered, rows.contiguous(), right=True)
    return (below + until).double() / 2 - rows.shape[1] / 2
