"""A trunk for detection: a vision transformer whose blocks see windows, run on two shifts of its grid and averaged.

    F(x) = norm( 1/2 [ f(x) + unrolled(f(rolled(x))) ] )             (Kim et al. 2023, shifted-window learning)

with f the same blocks both times. Cells are rolled behind the patches and before the positions, which stay with the
windows; rows and columns go in opposite directions, around the edge and without a mask, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.nn.dense.attention_pool import grid_positions
from deixis.nn.dual import DualEncoder
from deixis.nn.layers.transformer import TransformerBlock
from deixis.nn.vision.modified_resnet import ModifiedResNet
from deixis.nn.vision.vit import Vit

__all__ = ["WindowTrunk", "merge_windows", "rolled", "shift_average", "split_windows", "vit_cells", "window_blocks"]


def split_windows(cells: Float[Tensor, "B H W D"], per_side: int) -> Float[Tensor, "M N D"]:
    """The cells of each window; the windows of an image stand side by side, row by row.

    Args:
        cells: of a grid.
        per_side: windows along each side.

    Raises:
        DeixisError: they do not divide the grid.
    """
    height, width = cells.shape[1:3]
    if height % per_side or width % per_side:
        fitting = [each for each in range(1, min(height, width) + 1) if not (height % each or width % each)]
        raise DeixisError(
            f"{per_side} windows a side do not divide a grid of {height} by {width} cells.",
            f"Choose {', '.join(map(str, fitting))}.",
        )
    windows = cells.unflatten(2, (per_side, -1)).unflatten(1, (per_side, -1))
    return windows.transpose(2, 3).flatten(0, 2).flatten(1, 2)


def merge_windows(windows: Float[Tensor, "M N D"], per_side: int, grid: tuple[int, int]) -> Float[Tensor, "B H W D"]:
    """The cells of a grid again.

    Args:
        windows: as `split_windows` gives them.
        per_side: windows along each side.
        grid: rows and columns.
    """
    inner = (grid[0] // per_side, grid[1] // per_side)
    cells = windows.unflatten(1, inner).unflatten(0, (-1, per_side, per_side))
    return cells.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def window_blocks(
    blocks: Sequence[nn.Module], cells: Float[Tensor, "B H W D"], windows: Sequence[int]
) -> Float[Tensor, "B H W D"]:
    """Blocks of a transformer, each of which attends within windows.

    Args:
        blocks: one after the other.
        cells: of a grid.
        windows: of each block, how many along each side; 0: it attends to all cells.
    """
    grid = (cells.shape[1], cells.shape[2])
    for block, count in zip(blocks, windows, strict=True):
        per_side = max(1, count)
        cells = merge_windows(cast(TransformerBlock, block)(split_windows(cells, per_side)), per_side, grid)
    return cells


def rolled(cells: Float[Tensor, "B H W D"], shift: int) -> Float[Tensor, "B H W D"]:
    """Moved by `shift` cells, rows up and columns to the right, around the edge; by -shift it is undone."""
    return torch.roll(cells, (-shift, shift), dims=(1, 2))


def shift_average(
    run: Callable[[Float[Tensor, "B H W D"]], Float[Tensor, "B H W D"]], cells: Float[Tensor, "B H W D"], shift: int
) -> Float[Tensor, "B H W D"]:
    """The mean of what is said of the cells and of the rolled cells, rolled back; without a shift the former alone.

    Args:
        run: what is run on both, with the same weights.
        cells: of a grid.
        shift: in cells, about half a window.
    """
    return run(cells) if not shift else (run(cells) + rolled(run(rolled(cells, shift)), -shift)) / 2


def vit_cells(
    network: Vit, images: Float[Tensor, "B 3 H W"], windows: Sequence[int] = (), shift: int = 0
) -> Float[Tensor, "B F h w"]:
    """The cells of a transformer behind its last norm; without windows and shift, those of the tower itself.

    Args:
        network: without a class token, where there are windows.
        images: of any size, in whole patches.
        windows: of each block, as `window_blocks` takes them; empty: none.
        shift: see `shift_average`.

    Raises:
        DeixisError: there is a class token, which belongs to no window.
    """
    patches = network.patches(images).permute(0, 2, 3, 1)
    grid, before = (patches.shape[1], patches.shape[2]), int(network.class_token is not None)
    positions = grid_positions(network.positions, grid, before=before)
    if before and any(windows):
        raise DeixisError(
            "The tower has a class token, which belongs to no window.", "Take one without, such as scratch:vit-mean."
        )

    def run(cells: Tensor) -> Tensor:
        states = cells.flatten(1, 2)
        if network.class_token is not None:
            states = torch.cat([network.class_token.expand(len(states), 1, -1), states], dim=1)
        states = network.pre_norm(states + positions)
        if any(windows):
            return window_blocks(list(network.blocks), states.unflatten(1, grid), windows)
        return network.blocks(states)[:, before:].unflatten(1, grid)

    return network.post_norm(shift_average(run, patches, shift)).permute(0, 3, 1, 2)


class WindowTrunk(nn.Module):
    """The map of a dual encoder's image tower, and the same in the space shared with text.

    Args:
        encoder: whose image tower it is; shared, not copied.
        windows: windows a side in the blocks that are not whole; 0: all are whole. Of a vision transformer alone.
        whole: blocks that attend to all cells, evenly spread up to the last.
        shift: see `shift_average`.
    """

    def __init__(self, encoder: DualEncoder, windows: int = 0, whole: int = 4, shift: int = 0) -> None:
        super().__init__()
        self.network, self.preprocess = encoder.image_tower, encoder.preprocess
        self.shift = shift
        self.windows: tuple[int, ...] = ()
        if not isinstance(self.network, Vit):
            self.windows = (windows,)  # of no block: refused when it is called
            return
        depth = len(self.network.blocks)
        each = max(1, depth // max(1, whole))
        self.windows = tuple(0 if (block + 1) % each == 0 else windows for block in range(depth))

    @property
    def config(self) -> dict[str, Any]:
        """What weights and preprocessing do not determine, as plain values."""
        inside = getattr(self.network, "config", {})
        return {
            "kind": "WindowTrunk",
            "cells": self.width,
            "windows": list(self.windows),
            "shift": self.shift,
            "network": inside,
        }

    @property
    def width(self) -> int:
        """Of the cells (F)."""
        network = cast(Any, self.network)
        return int(getattr(network, "token_width", network.feature_width))

    @property
    def plain(self) -> bool:
        """Whether it is the tower as it is."""
        return not (self.shift or any(self.windows))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F h w"]:
        """The cells, before the projection.

        Raises:
            DeixisError: windows or a shift are requested of a tower that has no blocks.
        """
        if isinstance(self.network, Vit):
            return vit_cells(self.network, images, self.windows, self.shift)
        if not self.plain:
            raise DeixisError(
                f"A {type(self.network).__name__} is no vision transformer, and windows or a shift are requested.",
                "Set both to 0, or take a vision transformer without a class token, such as scratch:vit-mean.",
            )
        cells: Tensor = cast(Any, self.network).cells(images)
        return cells

    def projected(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """Each cell in the space shared with text, not scaled to length 1."""
        network = self.network
        if isinstance(network, ModifiedResNet):
            cells = network.cells(images)
            return network.pool.alone(cells).transpose(1, 2).unflatten(2, (cells.shape[2], cells.shape[3]))
        if isinstance(network, Vit):
            cells = vit_cells(network, images, self.windows, self.shift)
            states = cells.flatten(2).transpose(1, 2)
            states = network.projection(states if network.head is None else network.head.alone(states))
            return states.transpose(1, 2).unflatten(2, (cells.shape[2], cells.shape[3]))
        found = cast(Any, network).tokens(images)
        return found.states.transpose(1, 2).unflatten(2, found.grid)
