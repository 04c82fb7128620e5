"""The feature maps inside a convolutional network or a transformer of timm: one for each stride."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["Level", "feature_maps", "final_map", "levels_of"]

_PROBE = 256


class Level(NamedTuple):
    """One map of a pyramid.

    Attributes:
        channels: of the map.
        stride: pixels of the image a cell, along each side.
    """

    channels: int
    stride: int


def levels_of(network: nn.Module, channels: int) -> tuple[Level, ...]:
    """The levels of the maps that `feature_maps` gives, from the finest to the coarsest.

    Args:
        network: of timm; or any other, which then has one level, that of its output.
        channels: of the network's output.
    """
    chosen = _chosen(network)
    if len(chosen) > 1:
        return tuple(chosen.values())
    if chosen:
        return (Level(channels, next(iter(chosen))),)
    # On the meta device shapes are known and nothing is computed.
    state = {name: value.to("meta") for name, value in network.state_dict(keep_vars=True).items()}
    output = functional_call(network, state, (torch.zeros(1, 3, _PROBE, _PROBE, device="meta"),))
    return (Level(channels, round(_PROBE / output.shape[-1])),)


def feature_maps(network: nn.Module, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B c h w"]]:
    """One map a stride: the last that timm counts among the network's features. A network of one stride, such as a
    vision transformer, gives its final map.

    Args:
        network: as for `levels_of`.
        images: preprocessed.
    """
    chosen = _chosen(network)
    if len(chosen) < 2:
        return [final_map(network, images)]
    wanted = {level.stride: number for number, level in enumerate(_all_levels(network))}
    inside: Any = network
    return list(inside.forward_intermediates(images, indices=list(wanted.values()), intermediates_only=True))


def final_map(network: nn.Module, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F h w"]:
    """The last map of a network, before pooling; class and register tokens are left out.

    Args:
        network: as for `levels_of`.
        images: preprocessed.
    """
    inside: Any = network
    states: Tensor = inside.forward_features(images) if hasattr(network, "forward_features") else network(images)
    return as_map(network, states, images)


def as_map(
    network: nn.Module, states: Float[Tensor, "B ..."], images: Float[Tensor, "B 3 H W"]
) -> Float[Tensor, "B F h w"]:
    """What `forward_features` of a network gave, as a map with channels first."""
    if states.ndim == 4:
        last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        return states.permute(0, 3, 1, 2) if last else states
    states = states[:, int(getattr(network, "num_prefix_tokens", 0)) :]
    stride = _all_levels(network)[-1].stride
    return states.transpose(1, 2).unflatten(2, (images.shape[-2] // stride, images.shape[-1] // stride))


def _all_levels(network: nn.Module) -> list[Level]:
    """Those that timm counts, in its order."""
    info = getattr(network, "feature_info", None)
    entries = getattr(info, "info", info) if hasattr(network, "forward_intermediates") else None
    return [Level(int(each["num_chs"]), int(each["reduction"])) for each in entries or ()]


def _chosen(network: nn.Module) -> dict[int, Level]:
    """Stride -> the last level of it, from the finest to the coarsest."""
    return {level.stride: level for level in sorted(_all_levels(network), key=lambda level: level.stride)}
