"""Images that got worse on their way, in twelve kinds and three strengths each: noise, blur, light, coding.

The kinds are those of Hendrycks and Dietterich (2019) that need no pictures of frost, spatters or glass, in torch and
with strengths of our own. An image is first made smaller, so that a strength in pixels means the same for each.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.inputs.images import open_image
from deixis.types import Picture, place

__all__ = ["KINDS", "SIDE", "STRENGTHS", "CorruptedImage", "corrupted"]

SIDE = 224
"""The shorter side of an image at the most, in pixels."""

STRENGTHS = (1, 2, 3)


@dataclasses.dataclass(frozen=True)
class CorruptedImage:
    """An image that got worse, drawn when it is needed; equal seeds make equal images.

    Attributes:
        picture: the original.
        kind: one of `KINDS`.
        strength: one of `STRENGTHS`.
        seed: of noise and directions, which are the same for all strengths.
    """

    picture: Picture
    kind: str
    strength: int
    seed: str

    @property
    def name(self) -> str:
        """For messages."""
        return f"{place(self.picture)} ({self.kind}, strength {self.strength})"

    def draw(self) -> Any:
        """The image as a NumPy array uint8 [H, W, 3]."""
        image = open_image(self.picture)
        share = SIDE / min(image.size)
        if share < 1:
            image = image.resize([max(1, round(share * each)) for each in image.size])
        values = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        found = corrupted(values, self.kind, self.strength, self.seed)
        return (255 * found).round().byte().permute(1, 2, 0).numpy()


def corrupted(image: Float[Tensor, "3 H W"], kind: str, strength: int, seed: str) -> Float[Tensor, "3 H W"]:
    """An image that got worse, from 0 to 1.

    Args:
        image: from 0 to 1.
        kind: one of `KINDS`.
        strength: one of `STRENGTHS`.
        seed: of noise and directions.
    """
    digest = hashlib.sha256(f"{kind}/{seed}".encode()).digest()
    rng = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    change, amounts = KINDS[kind]
    return change(image, amounts[strength - 1], rng).clamp(0, 1)


def _gaussian_noise(image: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """Of this standard deviation."""
    return image + amount * torch.randn(image.shape, generator=rng)


def _shot_noise(image: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """White is so many photons on average."""
    return torch.poisson(image * amount, generator=rng) / amount


def _impulse_noise(image: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """This share of the values is 0 or 1."""
    draws = torch.rand(image.shape, generator=rng)
    return torch.where(draws < amount / 2, 0.0, torch.where(draws > 1 - amount / 2, 1.0, image))


def _defocus(image: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """A disc of this radius, in pixels, with soft edges."""
    half = math.ceil(amount)
    places = torch.arange(-half, half + 1, dtype=torch.float32)
    distance = (places[:, None] ** 2 + places**2).sqrt()
    return _filtered(image, (amount + 0.5 - distance).clamp(0, 1))


def _motion(image: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """Along a line of this many pixels in any direction."""
    angle, half = math.pi * float(torch.rand((), generator=rng)), int(amount) // 2
    steps = torch.linspace(-half, half, 4 * half + 1)
    kernel = torch.zeros(2 * half + 1, 2 * half + 1)
    rows, columns = ((half + steps * part(angle)).round().long() for part in (math.sin, math.cos))
    kernel.index_put_((rows, columns), torch.ones(len(steps)), accumulate=True)
    return _filtered(image, kernel)


def _filtered(image: Tensor, kernel: Tensor) -> Tensor:
    """With a square kernel of an odd side; edges go on as they are."""
    half, kernel = len(kernel) // 2, kernel / kernel.sum()
    padded = F.pad(image[None], (half, half, half, half), mode="replicate")
    return F.conv2d(padded, kernel.expand(3, 1, *kernel.shape), groups=3)[0]


def _zoom(image: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """The mean of the image and of seven that are ever larger, up to this factor."""
    factors = torch.linspace(1.0, amount, 8).tolist()
    theta = torch.tensor([[[1 / each, 0.0, 0.0], [0.0, 1 / each, 0.0]] for each in factors])
    grid = F.affine_grid(theta, [len(factors), *image.shape], align_corners=False)
    many = image.expand(len(factors), *image.shape)
    return F.grid_sample(many, grid, padding_mode="border", align_corners=False).mean(dim=0)


def _brightness(image: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    return image + amount


def _contrast(image: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """This share of the distance to the mean of each channel is left."""
    mean = image.mean(dim=(1, 2), keepdim=True)
    return mean + amount * (image - mean)


def _saturation(image: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """This share of the distance to grey is left."""
    grey = torch.einsum("chw,c->hw", image, torch.tensor(_LUMA))
    return grey + amount * (image - grey)


def _fog(image: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """This share of the light is that of clouds: noise in four sizes, the larger the stronger."""
    size = image.shape[1:]
    clouds = torch.zeros(size)
    for octave in range(1, 5):
        noise = torch.rand(1, 1, 2**octave, 2**octave, generator=rng)
        clouds += F.interpolate(noise, size=size, mode="bilinear", align_corners=False)[0, 0] / 2**octave
    return (1 - amount) * image + amount * (0.6 + 0.4 * clouds)


def _pixelate(image: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """This share of the rows and columns is left."""
    height, width = (max(1, round(amount * side)) for side in image.shape[1:])
    return F.interpolate(F.adaptive_avg_pool2d(image, (height, width))[None], size=image.shape[1:], mode="nearest")[0]


_LUMA = (0.299, 0.587, 0.114)
_YCC = (_LUMA, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_LUMA_STEPS = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29),
    *(51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121),
    *(120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_COLOUR_STEPS = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66),
    *(99,) * 38,
)
"""Quantisation at quality 50, of annex K of the standard."""


def _jpeg(image: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """What quantisation at this quality loses, colours at full resolution: a cosine transform of blocks of 8 x 8."""
    height, width = image.shape[1:]
    padded = F.pad(image[None], (0, -width % 8, 0, -height % 8), mode="replicate")[0]
    ycc = torch.einsum("dc,chw->dhw", torch.tensor(_YCC), 255 * padded)
    ycc[0] -= 128
    blocks = ycc.unflatten(1, (-1, 8)).unflatten(3, (-1, 8)).permute(0, 1, 3, 2, 4)
    places = torch.arange(8)
    basis = torch.cos(math.pi * (2 * places + 1) * places[:, None] / 16) / 2
    basis[0] /= math.sqrt(2)
    scale = 50 / amount if amount < 50 else 2 - amount / 50
    luma, colour = (
        (torch.tensor(each).reshape(8, 8) * scale).round().clamp(1, 255) for each in (_LUMA_STEPS, _COLOUR_STEPS)
    )
    steps = torch.stack([luma, colour, colour])[:, None, None]
    rounded = ((basis @ blocks @ basis.T) / steps).round() * steps
    found = (basis.T @ rounded @ basis).permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)
    found[0] += 128
    back = torch.einsum("dc,chw->dhw", torch.linalg.inv(torch.tensor(_YCC)), found) / 255
    return back[:, :height, :width]


KINDS: dict[str, tuple[Callable[[Tensor, float, torch.Generator], Tensor], tuple[float, float, float]]] = {
    "gaussian noise": (_gaussian_noise, (0.08, 0.16, 0.32)),
    "shot noise": (_shot_noise, (60.0, 20.0, 6.0)),
    "impulse noise": (_impulse_noise, (0.03, 0.08, 0.2)),
    "defocus": (_defocus, (1.5, 3.0, 5.0)),
    "motion": (_motion, (7.0, 13.0, 21.0)),
    "zoom": (_zoom, (1.1, 1.2, 1.35)),
    "brightness": (_brightness, (0.15, 0.3, 0.5)),
    "contrast": (_contrast, (0.5, 0.3, 0.15)),
    "saturation": (_saturation, (0.5, 0.25, 0.0)),
    "fog": (_fog, (0.3, 0.5, 0.7)),
    "pixelate": (_pixelate, (0.5, 0.3, 0.15)),
    "jpeg": (_jpeg, (25.0, 12.0, 6.0)),
}
"""Name -> what it does to an image, and by how much at each strength."""
