"""CLIP's ResNet with a stride of 8: maps that are fine enough to say where something is in a small image."""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from deixis.nn.vision.modified_resnet import (
    EXPANSION,
    REDUCTION,
    AttentionPool,
    Bottleneck,
    ModifiedResNet,
    ModifiedResNetConfig,
)
from deixis.nn.vision.pyramid import Level

__all__ = ["STRIDE", "FineResNet", "FineResNetConfig"]

STRIDE = 8
_STEM = 4


@dataclasses.dataclass(frozen=True)
class FineResNetConfig(ModifiedResNetConfig):
    """Sizes; `image_size` is a multiple of 4, and what is left at the right and the bottom is in no cell."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the last map."""
        return self.image_size // STRIDE, self.image_size // STRIDE


class FineResNet(ModifiedResNet):
    """`ModifiedResNet` whose last two stages do not halve their maps.

    Args:
        config: the sizes.

    Raises:
        ValueError: the image size is no multiple of 4, or below 8.
    """

    def __init__(self, config: FineResNetConfig) -> None:
        if config.image_size % _STEM or config.image_size < STRIDE:
            raise ValueError(f"an image of {config.image_size} pixels is no multiple of {_STEM} from {STRIDE} on")
        super().__init__(dataclasses.replace(config, image_size=REDUCTION))
        self._config = config
        for stage in self.stages[2:]:
            assert isinstance(stage, nn.Sequential)
            assert isinstance(stage[0], Bottleneck)
            stage[0].average = nn.Identity()
        rows, columns = config.grid
        self.pool = AttentionPool(rows * columns, self.feature_width, config.heads, config.out)

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {**super().config, "kind": "FineResNet"}

    @property
    def levels(self) -> tuple[Level, ...]:
        """Of the two maps that `feature_maps` gives."""
        return Level(EXPANSION * self._config.width, _STEM), Level(self.feature_width, STRIDE)

    def feature_maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B c h w"]]:
        """The maps after the first and after the last stage."""
        hidden = self.hidden(images)
        return [hidden[1], hidden[-1]]
