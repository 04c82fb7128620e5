"""New image towers with a stride of 8: `scratch:resnet:stride8`, and after colons a size and the side of the images."""

from __future__ import annotations

import dataclasses

import torch

from deixis.errors import DeixisError
from deixis.nn.encoders import ImageHalf
from deixis.nn.vision.fine_resnet import STRIDE, FineResNet, FineResNetConfig
from deixis.zoo import scratch

__all__ = ["build", "is_name", "load"]

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
    size = scratch.SIZES[str(wanted.get("size", "small"))]
    try:
        return build(size.width // 8, size.out, int(wanted["image_size"]), seed)
    except ValueError as error:
        raise DeixisError(f"{name!r} names no tower: {error}.", "Ask for a side that is a multiple of 4.") from error


def build(channels: int, out: int, side: int, seed: int = 0) -> ImageHalf:
    """The tower by its numbers, in eval mode.

    Args:
        channels: of the stem; the features are 32 times as wide.
        out: width of what it could be projected to.
        side: of its images, in pixels.
        seed: as for `load`.

    Raises:
        ValueError: the side is no multiple of 4, or below 8.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FineResNet(FineResNetConfig(side, (1, 1, 1, 1), channels, channels // 2, out))
    plain = scratch.image_half("tiny")
    preprocess = dataclasses.replace(plain.preprocess, size=side)
    return ImageHalf(network, preprocess, f"{scratch.NAME}-{_OPTION}", plain.licence).eval()
