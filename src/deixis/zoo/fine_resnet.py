"""New image towers with a stride of 8: `scratch:resnet:stride8`, and after colons a size and the side of the images."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import torch

from deixis.errors import DeixisError
from deixis.nn.encoders import ImageHalf
from deixis.nn.vision.fine_resnet import STRIDE, FineResNet, FineResNetConfig
from deixis.zoo import scratch

__all__ = ["is_name", "load"]

_OPTION = f"stride{STRIDE}"


def is_name(name: str) -> bool:
    """Whether it asks for such a tower."""
    first, *options = name.split(":")
    return first == scratch.NAME and _OPTION in options


def load(name: str, seed: int = 0) -> ImageHalf:
    """The tower, in eval mode; equal seeds give equal weights.

    Args:
        name: such as `scratch:resnet:stride8:small:64`.
        seed: the global generator of random numbers is left as it was.

    Raises:
        DeixisError: another tower than a ResNet is named, or a side that there can't be.
    """
    parts = name.split(":")
    parts.remove(_OPTION)
    wanted = scratch.options(":".join(parts)) or {}
    if wanted.pop("image") != "resnet":
        raise DeixisError(f"{name!r} names no tower: {_OPTION} is of resnet alone.", "Write scratch:resnet:stride8.")
    side, size = wanted.pop("image_size"), wanted.get("size", "small")
    plain = scratch.image_half(size)
    told: dict[str, Any] = {**cast(Any, plain.network).config, "image_size": side}
    told.pop("kind")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = FineResNet(FineResNetConfig(**told | {"blocks": tuple(told["blocks"])}))
    except ValueError as error:
        raise DeixisError(f"Images of {side} pixels are requested: {error}.", "Ask for a multiple of 4.") from error
    preprocess = dataclasses.replace(plain.preprocess, size=side)
    return ImageHalf(network, preprocess, plain.name, plain.licence).eval()
