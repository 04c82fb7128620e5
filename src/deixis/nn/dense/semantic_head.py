"""The semantic head of panoptic feature pyramids: all levels at the finest size, added up (Kirillov et al. 2019).

Each level goes through 3 x 3 convolutions with a norm and a ReLU, as many as it takes to double it to the finest level,
at least one. Norms are group norms, so that an image does not depend on the others of its batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SemanticHead"]

_GROUPS = 32


class _Doubled(nn.Module):
    def forward(self, cells: Float[Tensor, "B c h w"]) -> Float[Tensor, "B c i j"]:
        return F.interpolate(cells, scale_factor=2, mode="bilinear", align_corners=False)


class SemanticHead(nn.Module):
    """Logits of classes at the size of the finest level.

    Args:
        channels: of the levels.
        width: inside.
        scales: how many times larger the finest level is than each, such as 1, 2, 4 and 8.
        classes: how many there are.
    """

    def __init__(self, channels: int, width: int, scales: Sequence[float], classes: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_level(channels, width, round(math.log2(each))) for each in scales)
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, levels: Sequence[Float[Tensor, "B c _h _w"]]) -> Float[Tensor, "B C H W"]:
        """The logits.

        Args:
            levels: from the finest to the coarsest.
        """
        size = levels[0].shape[-2:]
        maps = [level(each) for level, each in zip(self.levels, levels, strict=True)]
        # sides that are no multiple of the strides differ by a cell
        fitting = [
            each if each.shape[-2:] == size else F.interpolate(each, size=size, mode="bilinear", align_corners=False)
            for each in maps
        ]
        return self.classifier(torch.stack(fitting).sum(dim=0))


def _level(channels: int, width: int, doublings: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(max(1, doublings)):
        layers += [nn.Conv2d(width if number else channels, width, 3, padding=1, bias=False)]
        layers += [nn.GroupNorm(math.gcd(_GROUPS, width), width), nn.ReLU()]
        layers += [_Doubled()] if doublings else []
    return nn.Sequential(*layers)
