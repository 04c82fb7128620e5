"""A vision transformer for images of any shape: its positions are interpolated to the grid of the image at hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.vision.vit import Vit, VitConfig
from deixis.types.outputs import TokenStates

__all__ = ["VariableVit", "VariableVitConfig"]


@dataclasses.dataclass(frozen=True)
class VariableVitConfig(VitConfig):
    """Sizes and layout; `image_size` is that of the grid of positions, and of the images of other modules."""


class VariableVit(Vit):
    """`Vit` without a class token whose images have sides that are any multiples of a patch (Tschannen et al. 2025).

    Patches are read by a linear map of their pixels, row by row, with the three colours of a pixel side by side.
    Positions are those of a square grid, interpolated linearly with antialiasing.

    Args:
        config: sizes and layout.
    """

    def __init__(self, config: VariableVitConfig) -> None:
        super().__init__(config)
        pixels = 3 * config.patch_size**2
        self.patches = nn.Linear(pixels, config.width, bias=config.patch_bias)  # type: ignore[assignment]

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {**super().config, "kind": "VariableVit"}

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """As of a `Vit`, on the grid of these images."""
        found = super().tokens(images)
        return TokenStates(found.states, found.mask, self._grid(images))

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F h w"]:
        """The patches after the last norm, where they lie."""
        return self._patches(images).transpose(1, 2).unflatten(2, self._grid(images))

    def _grid(self, images: Float[Tensor, "B 3 H W"]) -> tuple[int, int]:
        side = self._config.patch_size
        height, width = images.shape[-2:]
        if height % side or width % side or not height * width:
            raise DeixisError(
                f"The images are {height} by {width} pixels, and patches {side} by {side}.",
                "Resize them so that both sides are multiples of a patch.",
            )
        return height // side, width // side

    def _enter(self, images: Float[Tensor, "B 3 H W"], whole: bool = False) -> Float[Tensor, "B N F"]:
        rows, columns = self._grid(images)
        side = self._config.patch_size
        pixels = images.unflatten(3, (columns, side)).unflatten(2, (rows, side))  # [B, 3, rows, side, columns, side]
        states = self.patches(pixels.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2))
        states = states + self._positions_on(rows, columns)
        return self.pre_norm(states if whole else self._drop(states))

    def _positions_on(self, rows: int, columns: int) -> Float[Tensor, "N F"]:
        own = math.isqrt(len(self.positions))
        if (rows, columns) == (own, own):
            return self.positions
        grid = self.positions.T.reshape(1, -1, own, own)
        resized = F.interpolate(grid, size=(rows, columns), mode="bilinear", align_corners=False, antialias=True)
        return torch.flatten(resized[0], 1).T
