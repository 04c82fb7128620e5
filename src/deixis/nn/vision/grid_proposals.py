"""Region proposals that look for nothing: the cells of a regular grid, told apart by their colours."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

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
        boxes = self._boxes().to(images).expand(len(images), -1, -1)
        return self.describe(images, boxes, torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device))

    def describe(
        self, images: Float[Tensor, "B 3 H W"], boxes: Float[Tensor, "B T 4"], valid: Bool[Tensor, "B T"]
    ) -> RegionProposals:
        """The same of given boxes."""
        masks = self._masks(boxes, images.shape[-2], images.shape[-1]) & valid[..., None, None]
        share = masks.to(images) / masks.sum((-2, -1), keepdim=True).clamp(min=1)
        mean, square = (torch.einsum("bchw,bthw->btc", each, share) for each in (images, images.square()))
        features = torch.cat([mean, (square - mean.square()).clamp(min=0).sqrt()], dim=-1)
        scores = (1 - torch.exp(-features[..., 3:].mean(-1))) * valid
        return RegionProposals(boxes, valid, scores, features, (features @ self.weight.T).softmax(dim=-1), masks)

    def _boxes(self) -> Float[Tensor, "T 4"]:
        edges = torch.linspace(0, 1, self.rows + 1)
        top, left = torch.meshgrid(edges[:-1], edges[:-1], indexing="ij")
        return torch.stack([left, top, left + edges[1], top + edges[1]], dim=-1).flatten(0, 1)

    @staticmethod
    def _masks(boxes: Float[Tensor, "B T 4"], height: int, width: int) -> Bool[Tensor, "B T H W"]:
        """Pixels whose centre lies in the box."""
        y = ((torch.arange(height) + 0.5) / height).to(boxes)[None, None, :, None]
        x = ((torch.arange(width) + 0.5) / width).to(boxes)[None, None, None, :]
        left, top, right, bottom = (boxes[..., number, None, None] for number in range(4))
        return (x >= left) & (x < right) & (y >= top) & (y < bottom)
