"""CLIP's ResNet: a stem of three convolutions, strides by averaging, and attention in place of the last average.

Radford et al. 2021, section 2.4.
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.layers.attention import Attention
from deixis.nn.layers.positions import require_side
from deixis.nn.vision.pyramid import Level
from deixis.types.outputs import ImageStates, TokenStates

__all__ = ["AttentionPool", "Bottleneck", "ModifiedResNet", "ModifiedResNetConfig"]

EXPANSION = 4
REDUCTION = 32


@dataclasses.dataclass(frozen=True)
class ModifiedResNetConfig:
    """Sizes of a modified ResNet.

    Attributes:
        image_size: side of the square images, a multiple of 32.
        blocks: per stage.
        width: channels of the stem; the last stage has 32 times as many.
        heads: of the attention pool; they divide 32 times `width` (the authors take `width` / 2).
        out: width of the shared space (D).
        epsilon: of the batch norms.
        momentum: of the batch norms' running statistics.
    """

    image_size: int
    blocks: tuple[int, int, int, int]
    width: int
    heads: int
    out: int
    epsilon: float = 1e-5
    momentum: float = 0.1

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the last map."""
        return self.image_size // REDUCTION, self.image_size // REDUCTION


def _norm(channels: int, config: ModifiedResNetConfig) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=config.epsilon, momentum=config.momentum)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut; a stride is an average, never a stride of a convolution.

    Args:
        enter: channels of what comes in.
        inner: channels of the 3x3 convolution; four times as many come out.
        stride: side of the average.
        config: for the batch norms.
    """

    def __init__(self, enter: int, inner: int, stride: int, config: ModifiedResNetConfig) -> None:
        super().__init__()
        out = EXPANSION * inner
        self.conv1, self.norm1 = nn.Conv2d(enter, inner, 1, bias=False), _norm(inner, config)
        self.conv2, self.norm2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False), _norm(inner, config)
        self.conv3, self.norm3 = nn.Conv2d(inner, out, 1, bias=False), _norm(out, config)
        self.average = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.has_shortcut = stride > 1 or enter != out
        if self.has_shortcut:
            self.shortcut_conv, self.shortcut_norm = nn.Conv2d(enter, out, 1, bias=False), _norm(out, config)
        nn.init.zeros_(self.norm3.weight)

    def forward(self, cells: Float[Tensor, "B c h w"]) -> Float[Tensor, "B e i j"]:
        """The map one block on."""
        found = F.relu(self.norm1(self.conv1(cells)))
        found = self.average(F.relu(self.norm2(self.conv2(found))))
        found = self.norm3(self.conv3(found))
        if self.has_shortcut:
            cells = self.shortcut_norm(self.shortcut_conv(self.average(cells)))
        return F.relu(found + cells)


class AttentionPool(nn.Module):
    """The mean of all cells looks at itself and at them.

    Args:
        cells: of the map.
        width: of a cell (F).
        heads: of the attention.
        out: width of what comes out (D).
    """

    def __init__(self, cells: int, width: int, heads: int, out: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(cells + 1, width) * width**-0.5)
        self.attention = Attention(width, heads, out)
        for part in (self.attention.query, self.attention.key, self.attention.value, self.attention.out):
            nn.init.normal_(part.weight, std=width**-0.5)

    def forward(self, cells: Float[Tensor, "B F h w"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B F"]]:
        """The pooled vector, and what it was before the last linear map."""
        states = self._enter(cells)
        found = self.attention.attend(states[:, :1], memory=states)[:, 0]
        return self.attention.out(found), found

    def alone(self, cells: Float[Tensor, "B F h w"]) -> Float[Tensor, "B N D"]:
        """What each cell gives to the pooled vector, which is their mean weighted head by head."""
        return self.attention.out(self.attention.value(self._enter(cells)[:, 1:]))

    def _enter(self, cells: Float[Tensor, "B F h w"]) -> Float[Tensor, "B N F"]:
        states = cells.flatten(2).transpose(1, 2)
        return torch.cat([states.mean(dim=1, keepdim=True), states], dim=1) + self.positions


class ModifiedResNet(nn.Module):
    """An image tower: stem, four stages, attention pool.

    New weights are drawn as in the authors' code: each block's last gain is 0, the pool's maps are normal with
    deviation 1 / sqrt(32 width).

    Args:
        config: the sizes.

    Raises:
        ValueError: the image size is no multiple of 32.
    """

    def __init__(self, config: ModifiedResNetConfig) -> None:
        super().__init__()
        if config.image_size % REDUCTION:
            raise ValueError(f"an image of {config.image_size} pixels is no multiple of {REDUCTION}")
        self._config = config
        half, full = config.width // 2, config.width
        self.conv1, self.norm1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False), _norm(half, config)
        self.conv2, self.norm2 = nn.Conv2d(half, half, 3, padding=1, bias=False), _norm(half, config)
        self.conv3, self.norm3 = nn.Conv2d(half, full, 3, padding=1, bias=False), _norm(full, config)
        self.stages = nn.ModuleList()
        enter = full
        for number, count in enumerate(config.blocks):
            inner = full * 2**number
            first = Bottleneck(enter, inner, 2 if number else 1, config)
            enter = EXPANSION * inner
            self.stages.append(nn.Sequential(first, *(Bottleneck(enter, inner, 1, config) for _ in range(count - 1))))
        self.pool = AttentionPool(config.grid[0] * config.grid[1], enter, config.heads, config.out)
        self.width, self.feature_width = config.out, enter

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        settings = dataclasses.asdict(self._config)
        return {"kind": "ModifiedResNet", **settings, "blocks": list(self._config.blocks)}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> ImageStates:
        """Embeddings of length 1, what the pool found before its last map, and doubt 1."""
        embedding, features = self.embed(images)
        return ImageStates(F.normalize(embedding, dim=-1), features, torch.ones_like(features[:, 0]))

    def embed(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B F"]]:
        """Embeddings as they come, not scaled to length 1, and what they are projected from."""
        return cast(tuple[Tensor, Tensor], self.pool(self.hidden(images)[-1]))

    def hidden(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B c h w"]]:
        """The maps after the stem and after each stage."""
        require_side(images, self._config.image_size)
        # a twelfth faster on a CPU; the numbers are the same up to rounding
        images = images.contiguous(memory_format=torch.channels_last)
        cells = F.relu(self.norm1(self.conv1(images)))
        cells = F.relu(self.norm2(self.conv2(cells)))
        found = [F.avg_pool2d(F.relu(self.norm3(self.conv3(cells))), 2)]
        for stage in self.stages:
            found.append(stage(found[-1]))
        return found

    @property
    def levels(self) -> tuple[Level, ...]:
        """Of the maps that `feature_maps` gives."""
        return tuple(Level(EXPANSION * self._config.width * 2**stage, 4 * 2**stage) for stage in range(4))

    def feature_maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B c h w"]]:
        """The map after each stage."""
        return self.hidden(images)[1:]

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F h w"]:
        """The last map."""
        return self.hidden(images)[-1]

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """The cells of the last map in the shared space, not normalised: what each gives to the pool."""
        states = self.pool.alone(self.hidden(images)[-1])
        everywhere = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        return TokenStates(states, everywhere, self._config.grid)
