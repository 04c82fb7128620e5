"""A plain convolutional classifier as an image tower: what the papers on saliency explain, at desk size.

Blocks of two 3 x 3 convolutions, each with batch norm and ReLU, and a halving between blocks; the mean over places; a
linear map. Its embedding is the class scores themselves, before any softmax and not scaled to length 1: what is
explained is a score that no other class takes part in. A cosine is not such a score: where two things are seen, its
gradient for one is nearly minus that for the other.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.nn.vision.pyramid import Level
from deixis.types.outputs import ImageStates, TokenStates

__all__ = ["PlainCnn", "PlainCnnConfig"]


@dataclasses.dataclass(frozen=True)
class PlainCnnConfig:
    """Sizes of a plain CNN.

    Attributes:
        channels: of each block.
        out: classes (D).
    """

    channels: tuple[int, ...] = (8, 16, 32, 32)
    out: int = 8


class PlainCnn(nn.Module):
    """An image tower whose space has one axis a class; `blocks.0`, `blocks.1`... can be tapped.

    Args:
        config: sizes.
    """

    def __init__(self, config: PlainCnnConfig) -> None:
        super().__init__()
        self._config = config
        pairs = enumerate(itertools.pairwise((3, *config.channels)))
        self.blocks = nn.ModuleList(_block(*pair, halve=number > 0) for number, pair in pairs)
        self.classifier = nn.Linear(config.channels[-1], config.out)
        self.width, self.feature_width = config.out, config.channels[-1]

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"kind": "PlainCnn", **dataclasses.asdict(self._config)}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> ImageStates:
        """Class scores, the mean of the last map, and as doubt 1 minus the largest class probability."""
        features = self.cells(images).mean((2, 3))
        scores = self.classifier(features)
        return ImageStates(scores, features, 1 - scores.softmax(dim=-1).amax(dim=-1))

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """The class scores of each place of the last map as if it were alone."""
        cells = self.cells(images)
        states = self.classifier(cells.flatten(2).transpose(1, 2))
        everywhere = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        return TokenStates(states, everywhere, (cells.shape[2], cells.shape[3]))

    @property
    def levels(self) -> tuple[Level, ...]:
        """Of the maps that `feature_maps` gives."""
        return tuple(Level(channels, 2**number) for number, channels in enumerate(self._config.channels))

    def feature_maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B c h w"]]:
        """The map after each block."""
        maps = [images]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps[1:]

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F h w"]:
        """The last map."""
        return self.feature_maps(images)[-1]


def _block(enter: int, leave: int, halve: bool) -> nn.Sequential:
    halving: list[nn.Module] = [nn.MaxPool2d(2)] if halve else []
    return nn.Sequential(*halving, *_convolution(enter, leave), *_convolution(leave, leave))


def _convolution(enter: int, leave: int) -> list[nn.Module]:
    return [nn.Conv2d(enter, leave, 3, padding=1, bias=False), nn.BatchNorm2d(leave), nn.ReLU()]
