"""Region proposals that look for nothing: the cells of a regular grid, told apart by their colours."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.inputs.preprocess import Preprocess
from deixis.types.outputs import RegionProposals

__all__ = ["GridProposals"]

_COLOURS = 6


class GridProposals(nn.Module):
    """Each cell is a region; its features are mean and deviation of its three colours, its class a linear map of them.

    Args:
        rows: of the grid, and as many columns.
        classes: names of the classes.
        preprocess: of its images.
    """

    weight: Tensor

    def __init__(self, rows: int, classes: tuple[str, ...], preprocess: Preprocess) -> None:
        super().__init__()
        self.rows, self.classes, self.preprocess, self.width = rows, classes, preprocess, _COLOURS
        self.register_buffer("weight", torch.randn(len(classes), _COLOURS))

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"kind": "GridProposals", "rows": self.rows, "classes": list(self.classes)}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> RegionProposals:
        """The cells row by row; the more a cell's colours vary, the likelier it is a thing."""
        mean = F.adaptive_avg_pool2d(images, self.rows)
        deviation = (F.adaptive_avg_pool2d(images.square(), self.rows) - mean.square()).clamp(min=0).sqrt()
        features = torch.cat([mean, deviation], dim=1).flatten(2).transpose(1, 2)
        scores = 1 - torch.exp(-features[..., 3:].mean(-1))
        boxes = self._boxes().to(images)
        masks = self._masks(boxes, images.shape[-2], images.shape[-1])
        count = len(images)
        return RegionProposals(
            boxes.expand(count, -1, -1),
            torch.ones_like(scores, dtype=torch.bool),
            scores,
            features,
            (features @ self.weight.T).softmax(dim=-1),
            masks.expand(count, -1, -1, -1),
        )

    def _boxes(self) -> Float[Tensor, "T 4"]:
        edges = torch.linspace(0, 1, self.rows + 1)
        top, left = torch.meshgrid(edges[:-1], edges[:-1], indexing="ij")
        return torch.stack([left, top, left + edges[1], top + edges[1]], dim=-1).flatten(0, 1)

    @staticmethod
    def _masks(boxes: Float[Tensor, "T 4"], height: int, width: int) -> Tensor:
        """Pixels whose centre lies in the box."""
        y = ((torch.arange(height) + 0.5) / height).to(boxes)[None, :, None]
        x = ((torch.arange(width) + 0.5) / width).to(boxes)[None, None, :]
        left, top, right, bottom = (boxes[:, number, None, None] for number in range(4))
        return (x >= left) & (x < right) & (y >= top) & (y < bottom)
