"""Region proposals that are the peaks of a heat map: one map a class, four distances, and a map of features.

A peak is a cell of a class's map that is no lower than its eight neighbours. Its box reaches left, up, right and down
from there as the map of distances says; of boxes that overlap, whatever their classes, the best is left.

What is known of a box, also of one that is given, comes from the maps: its features are RoI-Align's mean, its class
distribution the heat of the classes at its peak.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from deixis.inputs.preprocess import Preprocess
from deixis.ops.regions.boxes import box_clip, nms
from deixis.types.outputs import RegionProposals

__all__ = ["DenseMaps", "HeatMapProposals"]

DenseMaps = Mapping[str, Tensor]
"""`heat` [B, C, h, w] from 0 to 1, `sides` [B, 4, h, w] in pixels of the image, `features` [B, F, h, w]."""

_PEAKS = 100
_OVERLAP = 0.6
_BINS = 3
_CORE = 0.5
_SURE = 1e-4


class HeatMapProposals(nn.Module):
    """Proposals of a network of heat maps.

    Args:
        network: images -> what `read` takes.
        read: the network's output -> `DenseMaps`.
        classes: names of the classes of the heat map.
        preprocess: of its images.
        width: of the features.
        count: regions of an image at the most.
    """

    def __init__(
        self,
        network: nn.Module,
        read: Callable[[Any], DenseMaps],
        classes: tuple[str, ...],
        preprocess: Preprocess,
        *,
        width: int,
        count: int,
    ) -> None:
        super().__init__()
        self.network, self._read = network, read
        self.classes, self.preprocess, self.width, self.count = classes, preprocess, width, count

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"kind": "HeatMapProposals", "classes": list(self.classes), "count": self.count}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> RegionProposals:
        """The regions of each image, the likeliest first."""
        maps = self._read(self.network(images))
        rows = (self._peaks(maps, row, images) for row in range(len(images)))
        return RegionProposals.padded(*zip(*rows, strict=True))

    def describe(
        self, images: Float[Tensor, "B 3 H W"], boxes: Float[Tensor, "B T 4"], valid: Bool[Tensor, "B T"]
    ) -> RegionProposals:
        """The same of given boxes: each one's classes are the highest heat in its inner half.

        Args:
            images: as the part takes them.
            boxes: from 0 to 1.
            valid: which are real.
        """
        maps = self._read(self.network(images))
        centre, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) * _CORE / 2
        heat = _pooled(maps["heat"], torch.cat([centre - half, centre + half], -1), 7).amax((-2, -1))
        heat = heat * valid[..., None]
        features = _pooled(maps["features"], boxes, _BINS).mean((-2, -1)) * valid[..., None]
        return RegionProposals(boxes, valid, heat.amax(-1), features, _distribution(heat))

    def _peaks(self, maps: DenseMaps, row: int, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Boxes, scores, features and classes of one image."""
        height, width = images.shape[2:]
        heat, sides = maps["heat"][row : row + 1].float(), maps["sides"][row].float()
        peak = ((heat == F.max_pool2d(heat, 3, 1, 1)) & (heat > _SURE))[0]
        heat = heat[0]
        rows, columns, kinds = peak.permute(1, 2, 0).nonzero(as_tuple=True)  # a network's maps often lie like this
        scores, best = heat[kinds, rows, columns].topk(min(_PEAKS, len(kinds)))
        rows, columns = rows[best], columns[best]
        x, y = columns * (width / heat.shape[2]), rows * (height / heat.shape[1])
        left, top, right, bottom = sides[:, rows, columns]
        boxes = torch.stack([x - left, y - top, x + right, y + bottom], dim=-1)
        boxes = box_clip(boxes / boxes.new_tensor([width, height, width, height]))
        inside = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).nonzero().flatten()
        kept = inside[nms(boxes[inside], scores[inside], _OVERLAP)[: self.count]]
        features = _pooled(maps["features"][row, None], boxes[kept][None], _BINS).mean((-2, -1))[0]
        return boxes[kept], scores[kept], features, _distribution(heat[:, rows[kept], columns[kept]].T)


def _pooled(values: Float[Tensor, "B F h w"], boxes: Float[Tensor, "B T 4"], bins: int) -> Float[Tensor, "B T F n n"]:
    """RoI-Align of each box."""
    size = boxes.new_tensor([values.shape[3], values.shape[2]] * 2)
    found = roi_align(values, list((boxes * size).to(values).unbind(0)), bins, sampling_ratio=2, aligned=True)
    return found.unflatten(0, boxes.shape[:2])


def _distribution(heat: Float[Tensor, "*B C"]) -> Float[Tensor, "*B C"]:
    """Rows that sum to 1; even where there is no heat at all."""
    heat = heat + torch.finfo(heat.dtype).tiny
    return heat / heat.sum(-1, keepdim=True)
