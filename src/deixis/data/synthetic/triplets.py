"""Triplets of pictures: one, and two variants of it that differ from it in other ways. Who is nearer, others say."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from deixis.inputs.images import load_image
from deixis.types import Picture, Sample, Source, place

__all__ = ["KINDS", "VariantDrawing", "triplets", "with_votes"]

KINDS = ("tint", "shift", "thing", "blur", "crop")
"""What a variant may differ in: the colours, the place, another thing in it, sharpness, what of it is shown."""


@dataclasses.dataclass(frozen=True)
class VariantDrawing:
    """A picture that is changed when it is drawn.

    Attributes:
        name: of the variant.
        picture: that is changed.
        other: whose middle is pasted in, for `thing`.
        kind: one of `KINDS`.
        amount: how much is changed, from 0 (not at all) to 1.
        seed: of what is drawn.
    """

    name: str
    picture: Picture
    other: Picture
    kind: str
    amount: float
    seed: int

    def draw(self) -> UInt8[NDArray[np.uint8], "H W 3"]:
        """The pixels."""
        pixels, rng = _pixels(self.picture), np.random.Generator(np.random.PCG64(self.seed))
        height, width = pixels.shape[:2]
        if self.kind == "tint":
            strength = rng.uniform(-0.7, 0.7, 3) * self.amount
            return np.clip(pixels * np.exp(strength), 0, 255).astype(np.uint8)
        if self.kind == "blur":
            radius = 0.05 * self.amount * min(height, width)
            return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))
        if self.kind == "thing":
            return _pasted(pixels, _pixels(self.other), self.amount, rng)
        across, down = (0.4 * self.amount * rng.choice([-1, 1], 2) * (width, height)).astype(int)
        if self.kind == "shift":
            rows = np.clip(np.arange(height) - down, 0, height - 1)
            columns = np.clip(np.arange(width) - across, 0, width - 1)
            return pixels[rows][:, columns]
        side = 1 - 0.6 * self.amount
        x, y = rng.uniform(0, 1 - side, 2) * (width, height)
        box = (x, y, x + side * width, y + side * height)
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, box))


def _pixels(picture: Picture) -> UInt8[NDArray[np.uint8], "H W 3"]:
    return np.ascontiguousarray(load_image(picture).permute(1, 2, 0).numpy())


def _pasted(pixels: Any, other: Any, amount: float, rng: np.random.Generator) -> UInt8[NDArray[np.uint8], "H W 3"]:
    """With the middle of another picture somewhere in it."""
    height, width = pixels.shape[:2]
    sides = max(1, round(0.6 * amount * width)), max(1, round(0.6 * amount * height))
    middle = (other.shape[1] / 4, other.shape[0] / 4, other.shape[1] * 3 / 4, other.shape[0] * 3 / 4)
    piece = np.asarray(Image.fromarray(other).resize(sides, Image.Resampling.BILINEAR, middle))
    x, y = (int(rng.integers(0, most + 1)) for most in (width - sides[0], height - sides[1]))
    changed = pixels.copy()
    changed[y : y + sides[1], x : x + sides[0]] = piece
    return changed


def triplets(source: Source, seed: int = 0, count: int = 1000) -> Source:
    """Triplets of pictures of a source, each picture in turn; their `votes` are still to come, see `with_votes`.

    The two variants differ from the picture in two ways and by amounts that are drawn. `extra["variants"]` holds kind
    and amount of each.

    Args:
        source: of images; two or more.
        seed: of what is drawn; each triplet hangs on it, its number and the picture's id alone.
        count: how many.
    """
    samples = source.samples
    made = tuple(_triplet(samples, number, seed) for number in range(count if len(samples) > 1 else 0))
    return Source(f"triplets of {source.name}", source.root, "images", "generated triplets", made)


def _triplet(samples: Sequence[Sample], number: int, seed: int) -> Sample:
    sample = samples[number % len(samples)]
    key = (seed, number, zlib.crc32(sample.id.encode("utf-8", "replace")))
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
    other = samples[(number + 1 + int(rng.integers(len(samples) - 1))) % len(samples)]
    kinds = [KINDS[i] for i in rng.permutation(len(KINDS))[:2]]
    amounts = rng.uniform(0.2, 1.0, 2)
    variants = tuple(
        VariantDrawing(
            f"{place(sample.picture)}, {kind} {number}",
            sample.picture,
            other.picture,
            kind,
            float(amount),
            int(rng.integers(2**31)),
        )
        for kind, amount in zip(kinds, amounts, strict=True)
    )
    said = tuple((kind, round(float(amount), 3)) for kind, amount in zip(kinds, amounts, strict=True))
    extra = {"triplets": (sample.picture, *variants), "variants": said}
    return Sample(f"{sample.id}#{number}", sample.picture, groups=(f"reference:{sample.id}",), extra=extra)


def with_votes(source: Source, votes: Sequence[float | None]) -> Source:
    """The triplets with votes, the share for the right one; those without are left out.

    Args:
        source: as `triplets` gives it.
        votes: one a triplet.
    """
    voted = tuple(
        dataclasses.replace(sample, extra={**sample.extra, "votes": vote})
        for sample, vote in zip(source.samples, votes, strict=True)
        if vote is not None
    )
    return dataclasses.replace(source, samples=voted)
