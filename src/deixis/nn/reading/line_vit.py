"""A vision transformer for pictures of lines, which are wider than high, and so may be their patches."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.nn.layers.transformer import TransformerEncoder

__all__ = ["LineVit", "LineVitConfig"]


@dataclasses.dataclass(frozen=True)
class LineVitConfig:
    """Sizes of a transformer for lines.

    Attributes:
        size: height and width of the pictures, in pixels.
        patch: height and width of a patch.
        width: of the states.
        depth: blocks.
        heads: of each attention.

    Raises:
        DeixisError: the patches do not divide the pictures.
    """

    size: tuple[int, int]
    patch: tuple[int, int]
    width: int
    depth: int
    heads: int

    def __post_init__(self) -> None:
        if min(*self.size, *self.patch) < 1 or any(
            side % step for side, step in zip(self.size, self.patch, strict=True)
        ):
            raise DeixisError(
                f"Pictures of {self.size[0]} by {self.size[1]} pixels can't be cut into patches of {self.patch[0]} by "
                f"{self.patch[1]}.",
                "Choose a height and a width that are multiples of those of a patch.",
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.size[0] // self.patch[0], self.size[1] // self.patch[1]


class LineVit(nn.Module):
    """Patches, positions, blocks, a norm: one state a patch, without a class token, as PARSeq's encoder has it.

    Args:
        config: sizes.
    """

    def __init__(self, config: LineVitConfig) -> None:
        super().__init__()
        self.sizes, width = config, config.width
        self.patches = nn.Conv2d(3, width, config.patch, stride=config.patch)
        self.positions = nn.Parameter(torch.empty(math.prod(config.grid), width))
        shape = (config.depth, width, config.heads, 4 * width)
        self.blocks = TransformerEncoder(*shape, activation="gelu", epsilon=1e-6)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N D"]:
        """States of the patches, row by row.

        Args:
            images: preprocessed.

        Raises:
            DeixisError: they have another size.
        """
        height, width = images.shape[-2:]
        if (height, width) != self.sizes.size:
            raise DeixisError(
                f"The images are {height} by {width} pixels, and this network sees {self.sizes.size[0]} by "
                f"{self.sizes.size[1]}.",
                "Preprocess to that size.",
            )
        states = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        return self.norm(self.blocks(states))
