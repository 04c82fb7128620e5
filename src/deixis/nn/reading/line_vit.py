"""A vision transformer for pictures of lines, which are wider than high, and so may be their patches."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.layers.transformer import TransformerEncoder
from deixis.nn.vision.pyramid import Level
from deixis.types.outputs import ImageStates, TokenStates

__all__ = ["LineTower", "LineVit", "LineVitConfig"]


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


class LineTower(nn.Module):
    """The same as the image tower of a dual encoder: the mean of the patches, and a projection.

    Args:
        config: sizes.
        out: width of the space shared with texts (D).
    """

    def __init__(self, config: LineVitConfig, out: int) -> None:
        super().__init__()
        self.network = LineVit(config)
        self.projection = nn.Linear(config.width, out, bias=False)
        nn.init.normal_(self.projection.weight, std=config.width**-0.5)
        self.width, self.feature_width = out, config.width

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        sizes = self.network.sizes
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(sizes).items()}
        return {"kind": "LineTower", **plain, "out": self.width}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> ImageStates:
        """Embeddings of length 1, the mean of the patches' states, and doubt 1, which the tower can't estimate."""
        features = self.network(images).mean(dim=1)
        embedding = F.normalize(self.projection(features), dim=-1)
        return ImageStates(embedding, features, torch.ones_like(features[:, 0]))

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """The patches in the shared space, not normalised."""
        states = self.projection(self.network(images))
        return TokenStates(states, torch.ones_like(states[..., 0], dtype=torch.bool), self.network.sizes.grid)

    @property
    def levels(self) -> tuple[Level, ...]:
        """Of the one map that `feature_maps` gives; its stride is that along the height."""
        return (Level(self.feature_width, self.network.sizes.patch[0]),)

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F h w"]:
        """The patches after the last norm, where they lie."""
        return self.network(images).transpose(1, 2).unflatten(2, self.network.sizes.grid)

    def feature_maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B F h w"]]:
        """The cells, as there is one stride."""
        return [self.cells(images)]
