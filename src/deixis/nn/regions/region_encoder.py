"""Regions of images as vectors that are compared with text: a pyramid, RoI-Align on its levels, and a box head.

(Lin et al. 2017; Li et al. 2022, the pyramid out of one map.) Which level a box is read from, where it is not said, is
decided by its size: the one on which it is nearest to `CELLS` cells wide.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torchvision.ops import roi_align

from deixis.nn.dense.feature_pyramid import SimplePyramid
from deixis.ops.regions.boxes import box_area

__all__ = ["CELLS", "BoxHead", "RegionEncoder", "assign_levels", "pooled_boxes"]

CELLS = 14.0
"""Side of a box on the level that it is read from, in cells."""


def pooled_boxes(
    cells: Float[Tensor, "B F h w"], boxes: Float[Tensor, "B R 4"], size: int
) -> Float[Tensor, "B R F s s"]:
    """What lies in each box, as a map of `size` by `size` places (He et al. 2017, RoI-Align, two samples a place).

    Args:
        cells: a map.
        boxes: from 0 to 1.
        size: of the result (s).
    """
    height, width = cells.shape[2:]
    corners = boxes.to(cells) * cells.new_tensor([width, height, width, height])
    found = roi_align(cells, list(corners.unbind(0)), size, sampling_ratio=2, aligned=True)
    return found.unflatten(0, boxes.shape[:2])


def assign_levels(
    boxes: Float[Tensor, "*B 4"], sizes: Sequence[tuple[int, int]], cells: float = CELLS
) -> Int64[Tensor, "*B"]:
    """The number of the level that each box is read from.

    Args:
        boxes: from 0 to 1.
        sizes: rows and columns of the levels.
        cells: wanted side of a box.
    """
    areas = box_area(boxes).clamp(min=1e-8)
    sides = torch.stack([(areas * height * width).sqrt() for height, width in sizes], dim=-1)
    return (sides / cells).log().abs().argmin(dim=-1)


class BoxHead(nn.Module):
    """Two linear maps, each with a norm and a ReLU, and a last one.

    Args:
        enter: numbers that come in.
        hidden: units of both.
        out: width of what comes out (D).
    """

    def __init__(self, enter: int, hidden: int, out: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before in (enter, hidden):
            layers += [nn.Linear(before, hidden, bias=False), nn.LayerNorm(hidden, eps=1e-6), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, out))

    def forward(self, rows: Float[Tensor, "... E"]) -> Float[Tensor, "... D"]:
        """Of any length."""
        return self.layers(rows)


class RegionEncoder(nn.Module):
    """From a map and boxes to a vector a box.

    Args:
        channels: of the map.
        width: of the pyramid's levels.
        hidden: units of the box head.
        out: width of the vectors (D).
        scales: of the levels, see `deixis.nn.dense.feature_pyramid`.
        size: places along each side of what is read in a box.
    """

    def __init__(
        self, channels: int, width: int, hidden: int, out: int, *, scales: Sequence[float], size: int = 7
    ) -> None:
        super().__init__()
        self.pyramid, self.size = SimplePyramid(channels, width, scales), size
        self.head = BoxHead(width * size * size, hidden, out)

    def levels(self, cells: Float[Tensor, "B F h w"]) -> list[Float[Tensor, "B c _h _w"]]:
        """The levels of the pyramid, from the finest to the coarsest."""
        found: list[Tensor] = self.pyramid(cells)
        return found

    def forward(
        self, levels: Sequence[Float[Tensor, "B c _h _w"]], boxes: Float[Tensor, "B R 4"], level: int | None = None
    ) -> Float[Tensor, "B R D"]:
        """One vector a box, not scaled to length 1.

        Args:
            levels: of the pyramid.
            boxes: from 0 to 1.
            level: that all are read from; None: by size.
        """
        if level is not None:
            return self.head(pooled_boxes(levels[level], boxes, self.size).flatten(2))
        owners = assign_levels(boxes, [(each.shape[2], each.shape[3]) for each in levels])
        found = levels[0].new_zeros(*owners.shape, levels[0].shape[1], self.size, self.size)
        for number, each in enumerate(levels):
            image, place = (owners == number).nonzero(as_tuple=True)
            height, width = each.shape[2:]
            corners = boxes[image, place].to(each) * each.new_tensor([width, height, width, height])
            rows = torch.cat([image[:, None].to(each), corners], dim=1)
            own = roi_align(each, rows, self.size, sampling_ratio=2, aligned=True)
            found = found.index_put((image, place), own)
        return self.head(found.flatten(2))
