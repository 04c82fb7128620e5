"""A linear classifier of the cells of frozen maps, a convolution of 1 x 1, and how well it names pixels.

Cells are standardised, made of length 1 and classified; the scores of a map are resized to the image, bilinearly, and
the class with the highest one is that of a pixel. Class 0 is the background. Pixels of class -1 count nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.ops.logistic import linear_layer
from deixis.types.samples import Region

__all__ = ["ITERATIONS", "LinearCells", "cell_labels", "class_map", "fit_linear_cells", "mean_iou"]

ITERATIONS = 300
"""Of L-BFGS, at the most."""

_BLOCK = 32
"""Images whose pixels are in memory at a time."""


class LinearCells(NamedTuple):
    """A linear classifier of cells.

    Attributes:
        mean: of the features that it was fitted on.
        deviation: likewise.
        weight: of the standardised features of length 1.
        intercept: of each class.
    """

    mean: Float[Tensor, " D"]
    deviation: Float[Tensor, " D"]
    weight: Float[Tensor, "C D"]
    intercept: Float[Tensor, " C"]

    def classes(
        self, states: Float[Tensor, "B N D"], grid: tuple[int, int], size: tuple[int, int]
    ) -> Int64[Tensor, "B H W"]:
        """The class of each pixel.

        Args:
            states: of cells, row by row.
            grid: rows and columns of cells.
            size: height and width of the images in pixels.
        """
        blocks = []
        for some in states.split(_BLOCK):
            rows = F.normalize((some.double() - self.mean) / self.deviation, dim=2)
            logits = (rows @ self.weight.T + self.intercept).transpose(1, 2).unflatten(2, grid)
            resized = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
            blocks.append(resized.argmax(dim=1))
        return torch.cat(blocks)


def fit_linear_cells(
    rows: Float[Tensor, "N D"], labels: Int64[Tensor, " N"], count: int, penalty: float, iterations: int = ITERATIONS
) -> LinearCells:
    """Fits the classifier.

    Args:
        rows: features of cells.
        labels: of each, from 0 on.
        count: of classes.
        penalty: weight of the L2 term.
        iterations: of L-BFGS, at the most.
    """
    rows = rows.double()
    mean, deviation = rows.mean(dim=0), rows.std(dim=0).clamp(min=1e-6)
    weight, intercept = linear_layer((rows - mean) / deviation, labels, count, penalty, iterations=iterations)
    return LinearCells(mean, deviation, weight, intercept)


def cell_labels(classes: Int64[Tensor, "B H W"], count: int, grid: tuple[int, int]) -> Int64[Tensor, "B N"]:
    """The class that covers most of each cell, row by row; -1 where that counts nowhere.

    Args:
        classes: of pixels, from -1 on.
        count: of classes.
        grid: rows and columns of cells.
    """
    blocks = []
    for some in classes.split(_BLOCK):
        single = F.one_hot(some.where(some >= 0, count), count + 1).permute(0, 3, 1, 2)
        shares = F.adaptive_avg_pool2d(single.double(), grid)
        blocks.append(shares.argmax(dim=1).flatten(1))
    found = torch.cat(blocks)
    return found.where(found < count, -1)


def class_map(
    regions: Sequence[Region], names: Sequence[str], pixels: Callable[[Region], Bool[Tensor, "H W"]], side: int
) -> Int64[Tensor, "H W"]:
    """The class of each pixel of a square image: 0 the background, n + 1 name n, -1 what has another name.

    Args:
        regions: with masks; later ones cover those before them.
        names: of the classes.
        pixels: of a region, as the image is shown.
        side: of the image.
    """
    found = torch.zeros(side, side, dtype=torch.long)
    for region in regions:
        found[pixels(region)] = names.index(region.category) + 1 if region.category in names else -1
    return found


def mean_iou(predicted: Int64[Tensor, "H W"], shown: Int64[Tensor, "H W"]) -> Float[Tensor, ""]:
    """The mean over the classes in an image of intersection over union. The background is no class of that mean:
    colours alone tell it, and it would outweigh all others.

    Args:
        predicted: classes of pixels.
        shown: the right ones, at least one of them above 0.
    """
    inside = shown >= 0
    present = [each for each in shown.unique() if each > 0]
    ious = [
        ((predicted == each) & (shown == each)).sum() / (((predicted == each) & inside) | (shown == each)).sum()
        for each in present
    ]
    return torch.stack(ious).mean()
