"""A perceptual hash of an image: equal or nearly so for copies of one image, far apart for others."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

__all__ = ["NEAR_DUPLICATE_BITS", "perceptual_hash"]

NEAR_DUPLICATE_BITS = 6
"""Two images are taken for near duplicates when their perceptual hashes differ in at most so many of 64 bits."""

_LOWEST = sorted(((row, column) for row in range(11) for column in range(11)), key=lambda at: (sum(at), at))[1:65]
_ROWS, _COLUMNS = np.array(_LOWEST).T
_GREY = np.array([0.299, 0.587, 0.114])
_PLAIN = 2.0
_LARGE = 512


def perceptual_hash(image: UInt8[Tensor, "3 H W"]) -> int:
    """A 64-bit hash that hardly changes when an image is rescaled, recompressed or made a little brighter.

    A DCT hash: brightness at 32 x 32, the 64 lowest frequencies of its cosine transform without the mean, one bit each:
    above the median by more than a tenth of the mean magnitude (a symmetric image has many coefficients of nearly zero,
    whose signs are noise). Images whose bits differ in at most `NEAR_DUPLICATE_BITS` are near duplicates. Measured on
    481 stamps: of 115,440 pairs 15 came so close, all look-alikes (four dreidels; S and s); of 161 stamps' copies, 97
    to 100 % did at a half, a third or twice the size and at JPEG quality 20 to 90, 96 % made a tenth brighter, 82 %
    with a border of 2 % cut off. A mirrored or turned copy is another image.

    A plain image (no channel varies by more than 2 of 255) has no frequencies to compare: it gets its mean colour, as
    21 bits a channel filled up like a thermometer, so that plain images are duplicates of like-coloured plain images
    and of no textured one.

    Args:
        image: values 0 to 255.

    Returns:
        An integer below 2 ** 64; compare two by `(a ^ b).bit_count()`.
    """
    from scipy import fft  # 0.2 s, which a search by words need not wait for

    if min(image.shape[1:]) > _LARGE:
        image = _shrink(image, 256)  # on 8 bits: a photo as floats would take four times its memory
    values = _shrink(image.float(), 32).double().numpy()
    if values.std(axis=(1, 2)).max() < _PLAIN:
        filled = [round(float(mean) / 255 * 21) for mean in values.mean(axis=(1, 2))]
        bits = np.concatenate([np.arange(21) < count for count in filled])
    else:
        lowest = fft.dctn(np.tensordot(_GREY, values, 1), norm="ortho")[_ROWS, _COLUMNS]
        bits = lowest > np.median(lowest) + 0.1 * np.abs(lowest).mean()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def _shrink(image: Tensor, side: int) -> Tensor:
    return torch.nn.functional.interpolate(image[None], size=(side, side), mode="bilinear", antialias=True)[0]
