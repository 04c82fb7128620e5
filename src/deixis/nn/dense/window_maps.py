"""What frozen parts see in the windows of an image: maps of features or scores, whatever size each part takes.

A method's images come as one part wants them; each window is cut from these, resized to the square of the part that
looks at it, and normalised as that part's own images are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.ops.dense.windows import WindowBox, sliding_windows
from deixis.types.outputs import TokenStates

__all__ = ["grid_map", "part_input", "unit_range", "window_boxes", "window_inputs"]


def unit_range(images: Float[Tensor, "B 3 H W"], preprocess: Any) -> Float[Tensor, "B 3 H W"]:
    """Images as a part takes them, from 0 to 1 again.

    Args:
        images: normalised.
        preprocess: of that part.
    """
    mean, std = (images.new_tensor(getattr(preprocess, each))[:, None, None] for each in ("mean", "std"))
    return (images * std + mean).clamp(0, 1)


def window_boxes(height: int, width: int, sides: Sequence[int], stride: int) -> list[WindowBox]:
    """The whole of an image, and square windows of some sides; each only once.

    Args:
        height: of the image.
        width: of the image.
        sides: of the windows.
        stride: from window to window.
    """
    found = [WindowBox(0, 0, width, height)]
    for side in sides:
        found += sliding_windows(height, width, side, stride)
    return list(dict.fromkeys(found))


def part_input(images: Float[Tensor, "B 3 H W"], preprocess: Any) -> Float[Tensor, "B 3 S S"]:
    """Images as a part takes them: resized to its square, and normalised.

    Args:
        images: from 0 to 1.
        preprocess: of the part.
    """
    size = (preprocess.size, preprocess.size)
    if images.shape[2:] != size:
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
    mean, std = (images.new_tensor(getattr(preprocess, each))[:, None, None] for each in ("mean", "std"))
    return (images - mean) / std


def window_inputs(
    image: Float[Tensor, "3 H W"], boxes: Sequence[WindowBox], preprocess: Any
) -> Float[Tensor, "B 3 S S"]:
    """The windows of an image as a part takes them.

    Args:
        image: from 0 to 1.
        boxes: the windows.
        preprocess: of the part.
    """
    return torch.cat([part_input(image[None, :, box.y0 : box.y1, box.x0 : box.x1], preprocess) for box in boxes])


def grid_map(states: TokenStates) -> Float[Tensor, "B D h w"]:
    """States of the cells of a grid, as a map; a part whose tokens lie on no grid has none.

    Raises:
        ValueError: they do not.
    """
    if states.grid is None:
        raise ValueError("these tokens lie on no grid")
    return states.states.transpose(1, 2).unflatten(2, states.grid)
