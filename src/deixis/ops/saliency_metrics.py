"""Whether a saliency map tells the truth: against the mask of what was asked for, and against the model itself.

With S the map, M the mask and |M| its pixels:

    energy = sum of S+ inside M / sum of S+                       overlap = IoU of M and the |M| highest pixels of S
    deletion: the score while the highest pixels go first         insertion: while they come first

Deletion and insertion are areas under the score over the share of pixels changed: low is good for the first, high for
the second (Petsiuk et al. 2018, RISE). The pointing game is `deixis.ops.maps.hits`, rank correlation is `spearman`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.ops.maps import to_unit

__all__ = ["area_under", "centre", "changed", "difficult", "edges", "energy", "order", "overlap"]


def energy(maps: Float[Tensor, "B H W"], masks: Bool[Tensor, "B H W"]) -> Float[Tensor, " B"]:
    """The share of what is positive in a map that lies inside the mask; 0 where nothing is (Wang et al. 2020)."""
    found = maps.double().clamp(min=0)
    whole = found.sum((1, 2))
    return (found * masks).sum((1, 2)) / torch.where(whole == 0, torch.ones_like(whole), whole)


def overlap(maps: Float[Tensor, "B H W"], masks: Bool[Tensor, "B H W"]) -> Float[Tensor, " B"]:
    """Intersection over union of the mask and as many of the highest pixels as it has; of equal ones the first."""
    flat, count = masks.flatten(1), masks.flatten(1).sum(1)
    rank = order(maps).argsort(1)
    both = ((rank < count[:, None]) & flat).sum(1)
    return both.double() / (2 * count - both).clamp(min=1)


def order(maps: Float[Tensor, "B H W"]) -> Int64[Tensor, "B N"]:
    """The pixels of each map, row by row, from the highest to the lowest; of equal ones the first comes first."""
    return maps.flatten(1).argsort(dim=1, descending=True, stable=True)


def difficult(masks: Bool[Tensor, "B H W"], others: Bool[Tensor, " B"], share: float = 0.25) -> Bool[Tensor, " B"]:
    """The pointing game's difficult subset: the object is less than a share of the image, and something else is there.

    Args:
        masks: of the object.
        others: whether a thing of another class is in the image, too.
        share: a quarter in the literature (Zhang et al. 2018).
    """
    return (masks.double().mean((1, 2)) < share) & others


def changed(
    images: Float[Tensor, "B c H W"], maps: Float[Tensor, "B H W"], steps: int, into: Float[Tensor, "B c H W"]
) -> Iterator[Float[Tensor, "B c H W"]]:
    """Images of which ever more pixels, the highest of the map first, are taken from `into`: steps + 1 of them, from
    the images as they are to `into` itself.

    Deletion changes images into a plain colour or a blur; insertion a blur into the images.

    Args:
        images: to begin with.
        maps: what tells the order.
        steps: in which all pixels change.
        into: to end with.
    """
    rank = order(maps).argsort(1).reshape(maps.shape)
    for step in range(steps + 1):
        until = round(step / steps * rank[0].numel())
        yield torch.where((rank < until)[:, None], into, images)


def area_under(scores: Float[Tensor, "S B"]) -> Float[Tensor, " B"]:
    """The mean of a curve whose points are equally far apart, by the trapezoid rule."""
    found = scores.double()
    return torch.trapezoid(found, dx=1 / (len(found) - 1), dim=0)


def centre(size: tuple[int, int], share: float = 0.25) -> Float[Tensor, "H W"]:
    """The map that always says the middle: a Gaussian, 1 at its top.

    Args:
        size: rows and columns.
        share: its deviation, in shares of either side.
    """
    down, across = (torch.linspace(-0.5, 0.5, side).div(share).square() for side in size)
    return torch.exp(-0.5 * (down[:, None] + across[None]))


def edges(images: Float[Tensor, "B c H W"]) -> Float[Tensor, "B H W"]:
    """The map that knows no model: how steeply the grey image rises at each pixel (Sobel), 0 ... 1."""
    slope = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernel = torch.stack([slope, slope.T])[:, None]
    grey = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    return to_unit(F.conv2d(grey, kernel).square().sum(1).sqrt())
