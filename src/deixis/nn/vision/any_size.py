"""Image towers on images of other sizes than their own, and the maps of their layers.

Positions are interpolated, with a gradient, for the pass at hand; the tower stays as it is. Without positions nothing
is to be done.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.nn.blocks import last_block
from deixis.nn.layers.positions import resize_grid
from deixis.nn.modes import evaluating
from deixis.nn.taps import names, to_grid
from deixis.nn.vision.modified_resnet import ModifiedResNet
from deixis.nn.vision.variable_vit import VariableVit
from deixis.nn.vision.vit import Vit
from deixis.types.outputs import TokenStates

__all__ = ["feature_map", "parameters_before", "pooled", "pooled_crops", "tokens"]


def pooled(tower: Any, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F"]:
    """Pooled features of images of any size.

    Args:
        tower: an `ImageEncoder`.
        images: preprocessed; squares, where the tower has positions.

    Raises:
        DeixisError: the tower takes images of its own size alone.
    """
    return _run(tower, images, lambda fitted: fitted(images))


def pooled_crops(tower: Any, views: Sequence[Float[Tensor, "B v 3 _h _w"]]) -> Float[Tensor, "B V F"]:
    """Pooled features of all crops of each image; crops of one size go through the tower together.

    Args:
        tower: an `ImageEncoder`.
        views: groups of crops; the order of crops is kept where those of one size stand side by side.
    """
    groups: dict[int, list[Tensor]] = {}
    for each in views:
        groups.setdefault(each.shape[-1], []).append(each)
    rows = []
    for same in groups.values():
        crops = torch.cat(same, dim=1)
        features = pooled(tower, crops.transpose(0, 1).flatten(0, 1))
        rows.append(features.unflatten(0, (crops.shape[1], len(crops))).transpose(0, 1))
    return torch.cat(rows, dim=1)


def feature_map(tower: Any, images: Float[Tensor, "B 3 H W"], layer: str = "") -> Float[Tensor, "B D h w"]:
    """A map of images of any size, before pooling.

    Args:
        tower: an `ImageEncoder` whose network is its attribute `network`.
        images: as for `pooled`.
        layer: a name of `deixis.nn.taps.names(tower.network)`, whose tokens are laid out as a grid; empty: the map that
            is pooled.

    Raises:
        DeixisError: as `pooled`; there is no such layer (near names are listed), or it gives no map.
    """
    if not layer:
        return _run(tower, images, lambda fitted: fitted.cells(images))
    known = names(tower.network)
    if layer not in known:
        near = difflib.get_close_matches(layer, known, n=5, cutoff=0.4)
        raise DeixisError(f"The tower has no layer {layer!r}.", f"Near names: {', '.join(near or known[:5])}.")
    outputs: list[Any] = []
    inner = tower.network.get_submodule(layer)
    handle = inner.register_forward_hook(lambda module, given, output: outputs.append(output))
    try:
        _run(tower, images, lambda fitted: fitted.cells(images))
    finally:
        handle.remove()
    if not outputs or not isinstance(outputs[-1], Tensor):
        raise DeixisError(f"The layer {layer!r} did not run, or gives no tensor.", "Name a layer inside it.")
    return to_grid(outputs[-1], (images.shape[2], images.shape[3]))[0]


def tokens(tower: Any, images: Float[Tensor, "B 3 H W"], layer: str = "") -> TokenStates:
    """The cells of a map of images of any size, row by row; see `feature_map`."""
    cells = feature_map(tower, images, layer)
    states = cells.flatten(2).transpose(1, 2)
    everywhere = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
    return TokenStates(states, everywhere, (cells.shape[2], cells.shape[3]))


def parameters_before(
    tower: Any, call: Callable[[Any, Tensor], Tensor], layers: Literal["all", "last"] = "all"
) -> tuple[str, ...]:
    """The names of the parameters that an output depends on, such as those before the pooled features.

    Args:
        tower: an `ImageEncoder`; its mode and what of it needs a gradient stay.
        call: of the tower and images: `pooled`, or `feature_map`.
        layers: `last`: of these, those of the last block and what lies behind it.
    """
    named = dict(tower.named_parameters())
    side, first = tower.preprocess.size, next(iter(named.values()))
    needed = {name: value.requires_grad for name, value in named.items()}
    try:
        with evaluating(tower), torch.inference_mode(False), torch.enable_grad():
            for value in named.values():
                value.requires_grad_()
            output = call(tower, torch.zeros(1, 3, side, side, device=first.device, dtype=first.dtype))
            found = torch.autograd.grad(output.sum(), list(named.values()), allow_unused=True)
    finally:
        for name, value in named.items():
            value.requires_grad_(needed[name])
    before = [name for name, gradient in zip(named, found, strict=True) if gradient is not None]
    prefixes = last_block(tower) if layers == "last" else ("",)
    return tuple(name for name in before if name.startswith(prefixes))


def _run(tower: Any, images: Tensor, call: Callable[[Any], Tensor]) -> Tensor:
    height, width = images.shape[2:]
    if height == width == tower.preprocess.size:
        return call(tower)
    try:
        return call(_fitted(tower, height, width))
    except (AssertionError, ValueError) as error:  # of timm and transformers
        raise DeixisError(
            f"The tower {tower.name!r} does not take images of {height} by {width} pixels: {error}.",
            f"Give images of {tower.preprocess.size} by {tower.preprocess.size}, or take another tower.",
        ) from error


def _fitted(tower: Any, height: int, width: int) -> Any:
    """A tower for images of another size that shares all weights with `tower`."""
    fitted = _shallow(tower)
    network: Any = fitted.network
    config: Any = getattr(network, "_config", None)
    if isinstance(network, Vit | ModifiedResNet) and not isinstance(network, VariableVit):
        fitted.network = _interpolated(network, height, width)
    elif hasattr(config, "image_size"):
        fitted.network = _shallow(network)  # of timm or transformers, within a dual encoder
        fitted.network._config = dataclasses.replace(config, image_size=_side(height, width))
    elif getattr(tower, "_fixed", False) and getattr(network, "dynamic_img_size", False):
        fitted._fixed = False
    return fitted


def _interpolated(network: Vit | ModifiedResNet, height: int, width: int) -> nn.Module:
    fitted: Any = _shallow(network)
    fitted._config = dataclasses.replace(network._config, image_size=_side(height, width))
    holder = fitted
    if isinstance(network, ModifiedResNet):
        holder = fitted.pool = _shallow(network.pool)
    positions = holder._parameters.pop("positions")
    before = len(positions) - network._config.grid[0] * network._config.grid[1]
    holder.positions = resize_grid(positions, fitted._config.grid, before=before)
    return fitted


def _side(height: int, width: int) -> int:
    if height != width:
        raise ValueError("they are no squares")
    return height


def _shallow(module: nn.Module) -> Any:
    """A copy that shares all that is in it, and in which things can be exchanged."""
    found = copy.copy(module)
    found._parameters, found._modules = dict(module._parameters), dict(module._modules)
    return found
