"""Pyramids of feature maps: top-down with lateral connections, and made of a single map.

    P_i = conv3x3(L_i),   L_i = conv1x1(C_i) + upsampled(L_{i+1})                  (Lin et al. 2017)

A network of one stride gives one map, or several of one size; `RescaledMaps` gives them four sizes by transposed
convolutions and pooling, and `SimplePyramid` (Li et al. 2022, ViTDet) is that with a 1 x 1 and a 3 x 3 convolution.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SCALES", "FeaturePyramid", "MapNorm", "RescaledMaps", "SimplePyramid"]

SCALES = (4.0, 2.0, 1.0, 0.5)
"""Sizes of the maps of a pyramid that is made of one, as factors."""


class MapNorm(nn.LayerNorm):
    """Layer norm over the channels of each place of a map.

    Args:
        channels: of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, cells: Float[Tensor, "B c h w"]) -> Float[Tensor, "B c h w"]:
        """The map, each place normed by itself."""
        return super().forward(cells.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class RescaledMaps(nn.Module):
    """Maps of one size made four times, twice, once and half as large.

    Args:
        channels: of the maps, which keep them.
        scales: of each map: 4, 2, 1 or 0.5.
    """

    def __init__(self, channels: int, scales: Sequence[float] = SCALES) -> None:
        super().__init__()

        def twice() -> nn.Module:
            return nn.ConvTranspose2d(channels, channels, 2, stride=2)

        kinds = {
            4.0: lambda: nn.Sequential(twice(), MapNorm(channels), nn.GELU(), twice()),
            2.0: twice,
            1.0: nn.Identity,
            0.5: lambda: nn.MaxPool2d(2, ceil_mode=True),
        }
        self.levels = nn.ModuleList(kinds[scale]() for scale in scales)

    def forward(self, maps: Sequence[Float[Tensor, "B c h w"]]) -> list[Float[Tensor, "B c _h _w"]]:
        """One map a scale.

        Args:
            maps: as many as there are scales, of one size.
        """
        return [level(cells) for level, cells in zip(self.levels, maps, strict=True)]


class SimplePyramid(nn.Module):
    """A pyramid out of one map, without a way from level to level.

    Args:
        channels: of the map.
        width: of the levels.
        scales: of the levels, as `RescaledMaps` takes them.
    """

    def __init__(self, channels: int, width: int, scales: Sequence[float] = SCALES) -> None:
        super().__init__()
        self.rescaled = RescaledMaps(channels, scales)
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, 1, bias=False),
                MapNorm(width),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                MapNorm(width),
            )
            for _ in scales
        )

    def forward(self, cells: Float[Tensor, "B c h w"]) -> list[Float[Tensor, "B d _h _w"]]:
        """The levels, from the finest to the coarsest."""
        maps = self.rescaled([cells] * len(self.levels))
        return [level(each) for level, each in zip(self.levels, maps, strict=True)]


class FeaturePyramid(nn.Module):
    """Lin et al.'s pyramid, of maps whose sizes need not be halves of one another.

    Args:
        channels: of the maps, from the finest to the coarsest.
        width: of the levels.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(each, width, 1) for each in channels)
        self.out = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)

    def forward(self, maps: Sequence[Float[Tensor, "B _c _h _w"]]) -> list[Float[Tensor, "B d _h _w"]]:
        """The levels, in the order of the maps."""
        inner = [lateral(each) for lateral, each in zip(self.lateral, maps, strict=True)]
        for fine, coarse in reversed(list(itertools.pairwise(range(len(inner))))):
            inner[fine] = inner[fine] + F.interpolate(inner[coarse], size=inner[fine].shape[-2:], mode="nearest")
        return [out(each) for out, each in zip(cast(Iterable[nn.Module], self.out), inner, strict=True)]
