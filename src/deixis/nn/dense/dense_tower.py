"""What a dense method reads of an image tower: maps of several strides, and vectors of the space shared with text.

Three kinds of towers (Rao et al. 2022, section 3.2): CLIP's ResNet, whose attention pool is run on all positions; a
vision transformer, whose last norm and projection are applied to every token; and any other that gives feature maps,
behind which a new attention pool is put. Images may have any size, where the tower's positions can be interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.dense.attention_pool import PositionRule, grid_positions, pool_everywhere
from deixis.nn.dense.whole_tower import require_whole
from deixis.nn.vision.any_size import parameters_before
from deixis.nn.vision.modified_resnet import EXPANSION, AttentionPool, ModifiedResNet
from deixis.nn.vision.vit import Vit

__all__ = ["LEVELS", "DenseStates", "DenseTower"]

LEVELS = 4
"""Maps of a pyramid, at the most."""

_HEAD = 64
"""Channels a head of a new attention pool, about."""


class DenseStates(NamedTuple):
    """What a tower says of images.

    Attributes:
        maps: from the finest to the coarsest; of a network of one stride, `LEVELS` maps of one size.
        whole: the pooled vector, in the space shared with text.
        cells: one vector a cell of the coarsest map, in that space; not scaled to length 1.
    """

    maps: list[Float[Tensor, "B _c _h _w"]]
    whole: Float[Tensor, "B D"]
    cells: Float[Tensor, "B D h w"]


class DenseTower(nn.Module):
    """Reads a tower, which is given with each call; what it holds itself is a new attention pool, where one is needed.

    Args:
        tower: the image half of a dual encoder, or a network of timm.
        out: width of the space shared with text.
        own: whether the tower leads into that space itself; else, or if it can't say that of cells, a pool is made.
        vectors: whether `forward` will be called; else the maps alone are wanted, and no pool is made.
        layers: of a vision transformer, the blocks whose states are the maps; by default the ends of its quarters.
        rule: of the positions of attention pools.
        class_twice: whether a vision transformer adds its class token twice, as the authors' port does.

    Raises:
        DeixisError: there is no such block.
    """

    def __init__(
        self,
        tower: Any,
        out: int,
        *,
        own: bool = True,
        vectors: bool = True,
        layers: Sequence[int] = (),
        rule: PositionRule = "resize",
        class_twice: bool = False,
    ) -> None:
        super().__init__()
        network, self.rule, self.class_twice, self.vectors = tower.network, rule, class_twice, vectors
        own = own and getattr(network, "width", 0) == out
        self.kind = "resnet" if isinstance(network, ModifiedResNet) else "vit" if isinstance(network, Vit) else "any"
        self.layers = self._blocks(network, layers) if isinstance(network, Vit) else ()
        self.channels, self.strides = self._sizes(tower, network)
        self.pool = None
        if vectors and (self.kind == "any" or not own):
            width = self.channels[-1]
            side = -(-tower.preprocess.size // self.strides[-1])
            heads = next(each for each in range(max(1, width // _HEAD), 0, -1) if width % each == 0)
            self.pool = AttentionPool(side * side, width, heads, out)
        self._before = parameters_before(tower, self._flat) if self.kind == "any" else ()

    @property
    def single(self) -> bool:
        """Whether all maps have one size."""
        return len(set(self.strides)) == 1

    def trained(self, tower: Any) -> tuple[str, ...]:
        """Names of the tower's parameters that a loss of what is read of it reaches.

        Args:
            tower: as in the constructor.

        Raises:
            DeixisError: it is read inside, and lies in shares on the ranks.
        """
        if self.kind == "any":
            return self._before
        require_whole(tower)
        names = tuple(name for name, _ in tower.named_parameters())
        if self.vectors and self.pool is None:
            return names
        if self.kind == "resnet":
            return tuple(name for name in names if not name.startswith("network.pool."))
        behind = ("post_norm", "projection", "head", *(f"blocks.{n}" for n in range(1 + max(self.layers), 1000)))
        return tuple(name for name in names if not name.startswith(tuple(f"network.{each}." for each in behind)))

    def forward(self, tower: Any, images: Float[Tensor, "B 3 H W"]) -> DenseStates:
        """Maps and vectors.

        Args:
            tower: as in the constructor.
            images: preprocessed.
        """
        if self.kind == "vit":
            maps, states, grid = self._vit(tower.network, images)
            if self.pool is None:
                return DenseStates(maps, *_projected(tower.network, states, grid))
        else:
            maps = self._maps(tower, images)
        pool = tower.network.pool if self.pool is None else self.pool
        return DenseStates(maps, *pool_everywhere(pool, maps[-1], self.rule))

    def maps(self, tower: Any, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _c _h _w"]]:
        """The maps alone."""
        return self._vit(tower.network, images)[0] if self.kind == "vit" else self._maps(tower, images)

    def _maps(self, tower: Any, images: Tensor) -> list[Tensor]:
        if self.kind == "resnet":
            return _stage_maps(tower.network, images)
        found: list[Tensor] = tower.feature_maps(images)[-LEVELS:]
        return found * LEVELS if len(found) == 1 else found

    def _flat(self, tower: Any, images: Tensor) -> Tensor:
        return torch.cat([each.flatten(1) for each in self._maps(tower, images)], dim=1)

    @staticmethod
    def _blocks(network: Vit, layers: Sequence[int]) -> tuple[int, ...]:
        depth = len(network.blocks)
        found = tuple(layers) or tuple(-(-depth * part // LEVELS) - 1 for part in range(1, LEVELS + 1))
        if len(found) != LEVELS or not all(0 <= each < depth for each in found):
            raise DeixisError(
                f"The maps are to come from the blocks {', '.join(map(str, found))}, and the tower has {depth}.",
                f"Name {LEVELS} blocks, from 0 to {depth - 1}.",
            )
        return found

    def _sizes(self, tower: Any, network: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Channels and strides of the maps."""
        if self.kind == "resnet":
            channels = tuple(EXPANSION * network.config["width"] * 2**stage for stage in range(LEVELS))
            strides = [4]
            for stage in network.stages[1:]:
                strides.append(strides[-1] * (2 if isinstance(stage[0].average, nn.AvgPool2d) else 1))
            return channels, tuple(strides)
        channels, strides = tuple(tower.channels[-LEVELS:]), list(tower.strides[-LEVELS:])
        return (channels * LEVELS, tuple(strides) * LEVELS) if len(channels) == 1 else (channels, tuple(strides))

    def _vit(self, network: Vit, images: Tensor) -> tuple[list[Tensor], Tensor, tuple[int, int]]:
        """The maps of the chosen blocks, the states of the last, and rows and columns; no patch is dropped."""
        cells = network.patches(images)
        grid, states = (cells.shape[2], cells.shape[3]), cells.flatten(2).transpose(1, 2)
        before = 0 if network.class_token is None else 1
        positions = grid_positions(network.positions, grid, before=before, rule=self.rule)
        if network.class_token is not None:
            first = network.class_token * (2 if self.class_twice else 1)
            states = torch.cat([first.expand(len(states), 1, -1), states], dim=1)
        each = network.blocks.each(network.pre_norm(states + positions))[1:]
        return [_grid(each[layer][:, before:], grid) for layer in self.layers], each[-1], grid


def _stage_maps(network: ModifiedResNet, images: Tensor) -> list[Tensor]:
    """As `ModifiedResNet.feature_maps`, of images of any size, and of all stages."""
    cells = images.contiguous(memory_format=torch.channels_last)
    for conv, norm in ((network.conv1, network.norm1), (network.conv2, network.norm2), (network.conv3, network.norm3)):
        cells = F.relu(norm(conv(cells)))
    maps = [F.avg_pool2d(cells, 2)]
    for stage in network.stages:
        maps.append(stage(maps[-1]))
    return maps[1:]


def _projected(network: Vit, states: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The pooled vector and every patch through the last norm and the projection."""
    before = 0 if network.class_token is None else 1
    patches = network.post_norm(states[:, before:])
    patches = patches if network.head is None else network.head.alone(patches)
    return network.projection(network._pool(states)), _grid(network.projection(patches), grid)


def _grid(states: Float[Tensor, "B N D"], grid: tuple[int, int]) -> Float[Tensor, "B D h w"]:
    return states.transpose(1, 2).unflatten(2, grid)
