"""A network that sees images: pooled features, dense tokens, and feature maps of several strides."""

from __future__ import annotations

from typing import Any

from deixis import zoo
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.encoders import ImageHalf
from deixis.nn.vision_language.raw_patches import RawPatches
from deixis.types import PartKind, PartSource, Source
from deixis.types.protocols import ImageEncoder
from deixis.zoo import fine_resnet, regnet, scratch, timm_networks

__all__ = ["PART", "load"]

_PATCHES = "patches:"

PART = PartKind(
    gives="pooled features, dense tokens and feature maps of images, with the preprocessing that belongs to it",
    protocol="ImageEncoder",
    sources=(
        PartSource(
            "timm:NAME",
            "timm:resnet18",
            "a network of timm with timm's default weights; `resnet18.a1_in1k` names others",
            "once, from the Hugging Face hub: 47 MB for resnet18, 350 MB for a ViT-B",
        ),
        PartSource(
            "timm:NAME:untrained",
            "timm:resnet18:untrained",
            "the same network with random weights; a number after a further colon is the side of the images in pixels",
        ),
        PartSource(
            "regnety:DEPTH:W0:WA:WM:GROUP:untrained",
            "regnety:13:24:36.44:2.49:8:untrained",
            "a RegNetY by its five numbers, with random weights; a number after them is the side of the images in "
            "pixels",
        ),
        PartSource(
            "scratch:OPTIONS",
            "scratch:resnet:base:96",
            "a small new network: resnet (also with stride8), vit or vit-mean; tiny, small or base; the side of the "
            "images in pixels",
        ),
        PartSource("patches:SIDE:SIZE", "patches:8:64", "no network: the pixels of each patch of images of this size"),
        PartSource(
            "DUAL_ENCODER",
            "my-run",
            "the image half of any dual encoder, before the projection: every name that the kind dual_encoder loads",
            "as that kind",
        ),
    ),
)


def load(name: Any, *, source: Source | None = None, seed: int = 0, **options: Any) -> ImageEncoder:
    """The tower called `name`, or the image half of an encoder; a tower that exists already is given back.

    Args:
        name: see `PART`.
        source: not asked, as a new tower knows no words.
        seed: of random weights.
        **options: what `zoo.load` takes.

    Raises:
        DeixisError: no such name, or its weights can't be had.
    """
    if isinstance(name, DualEncoder):
        return ImageHalf.of(name)
    if not isinstance(name, str):
        tower: ImageEncoder = name
        return tower
    if name.startswith(timm_networks.PREFIX):
        return timm_networks.load(name, seed)
    if name.startswith(regnet.PREFIX):
        return regnet.load(name, seed)
    if name.startswith(_PATCHES):
        return _patches(name)
    if fine_resnet.is_name(name):
        return fine_resnet.load(name, seed)
    new = scratch.options(name)
    if new is not None:
        new.pop("text", None)
        return scratch.image_half(seed=seed, **new)
    return ImageHalf.of(zoo.load(name, **options))


def _patches(name: str) -> RawPatches:
    sides = name.removeprefix(_PATCHES).split(":")
    if (
        len(sides) != 2
        or not all(each.isdigit() for each in sides)
        or int(sides[0]) < 1
        or int(sides[1]) % int(sides[0])
    ):
        raise DeixisError(
            f"There are no patches {name!r}.", "Give the side of a patch and that of the images, such as patches:8:64."
        )
    return RawPatches(int(sides[0]), int(sides[1])).eval()
