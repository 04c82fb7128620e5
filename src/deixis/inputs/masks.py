"""Masks between their small form (`types.Mask`) and arrays."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image, ImageDraw
from torch import Tensor

from deixis.errors import DeixisError
from deixis.types.samples import Mask

__all__ = ["decode_mask", "encode_mask", "run_lengths"]


def decode_mask(mask: Mask) -> Bool[Tensor, "H W"]:
    """The mask as an array: True is what belongs to it.

    A pixel belongs to a polygon as Pillow draws it, its outline included: up to half a pixel more than COCO's own
    rasteriser gives.

    Raises:
        DeixisError: the run lengths do not add up to the image, or a polygon has fewer than three corners.
    """
    if mask.polygons:
        return _drawn(mask)
    if sum(mask.counts) != mask.width * mask.height or min(mask.counts, default=0) < 0:
        raise DeixisError(
            f"A mask's run lengths add up to {sum(mask.counts)} pixels, and its image has {mask.width} x {mask.height} "
            f"= {mask.width * mask.height}.",
            "Run lengths go down the columns, first those that do not belong to it.",
        )
    values = np.arange(len(mask.counts)) % 2 == 1
    flat = np.repeat(values, mask.counts)
    return torch.from_numpy(np.ascontiguousarray(flat.reshape(mask.width, mask.height).T))


def encode_mask(pixels: Bool[Tensor, "H W"]) -> Mask:
    """Run lengths of an array; `decode_mask` gives it back."""
    height, width = pixels.shape
    flat = pixels.numpy(force=True).T.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = np.concatenate([[0], edges, [flat.size]])
    counts = np.diff(ends).tolist()
    return Mask(width, height, counts=tuple([0, *counts] if flat.size and flat[0] else counts))


def run_lengths(packed: str) -> tuple[int, ...]:
    """The run lengths that COCO packs into a string.

    A character holds, above 48, five bits of a number, lowest first, and whether more follow; the last one's highest
    bit is the sign. From the fourth on, a number is the difference to the one two places before.

    Raises:
        DeixisError: the string is cut short, or holds other characters or a negative length.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in packed:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise _unpackable(packed)
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        value -= (1 << shift) if code & 16 else 0
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    if shift or min(lengths, default=0) < 0:
        raise _unpackable(packed)
    return tuple(lengths)


def _unpackable(packed: str) -> DeixisError:
    return DeixisError(
        f"{packed[:20]!r} is no mask as COCO packs it into a string.", "Give polygons, or run lengths as numbers."
    )


def _drawn(mask: Mask) -> Bool[Tensor, "H W"]:
    canvas = Image.new("1", (mask.width, mask.height))
    draw = ImageDraw.Draw(canvas)
    for polygon in mask.polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise DeixisError(
                f"A polygon of a mask has {len(polygon)} numbers.", "It takes x and y of three corners or more."
            )
        draw.polygon([(x - 0.5, y - 0.5) for x, y in zip(polygon[::2], polygon[1::2], strict=True)], fill=1)
    return torch.from_numpy(np.array(canvas))
