"""Images varied: each function takes a whole batch of 8-bit images, and one amount for each of them.

The values are those of torchvision's functions on single images (`torchvision.transforms.v2.functional`), within 1 of
255 where a product or a blur is rounded.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

__all__ = ["blur", "brightness", "contrast", "grey", "hue", "mirror", "saturation", "solarise"]

Images = UInt8[Tensor, "B 3 H W"]
Amounts = Float[Tensor, " B"]


def mirror(
    images: UInt8[Tensor, "*B 3 H W"] | Float[Tensor, "*B 3 H W"], rows: Bool[Tensor, " B"] | None = None
) -> UInt8[Tensor, "*B 3 H W"] | Float[Tensor, "*B 3 H W"]:
    """Images turned left to right; of a batch those for which `rows` is true, the others as they are."""
    if rows is None:
        return images.flip(-1)
    return torch.where(rows[:, None, None, None], images.flip(-1), images)


def brightness(images: Images, factor: Amounts) -> Images:
    """Values times the factor."""
    return _whole(_times(images, factor))


def contrast(images: Images, factor: Amounts) -> Images:
    """Mixed with the mean grey of each image: 0 is that grey, 1 the image."""
    mean = _grey(images).mean(dim=(-3, -2, -1), keepdim=True)
    return _whole(_times(images, factor).add_(mean.mul_(_rest(factor))))


def saturation(images: Images, factor: Amounts) -> Images:
    """Mixed with the grey image: 0 is grey, 1 the image."""
    return _whole(_times(images, factor).addcmul_(_grey(images), _rest(factor)))


def hue(images: Images, turn: Amounts) -> Images:
    """The hue of each pixel turned, in turns of the circle of colours (-0.5 to 0.5)."""
    red, green, blue = images.unbind(1)
    highest = torch.maximum(torch.maximum(red, green), blue)  # `aminmax` over channels takes ten times as long
    lowest = torch.minimum(torch.minimum(red, green), blue)
    high = highest.float().div_(255)
    spread = high - lowest.float().div_(255)
    values = images.float().div_(255).div_((spread + (highest == lowest))[:, None])
    sixths = _sixths(values, highest == red, highest == green).add_(6 * turn.float()[:, None, None])
    place = sixths[:, None] + values.new_tensor([5, 3, 1])[:, None, None]
    place.sub_(torch.mul(place, 1 / 6, out=values).floor_(), alpha=6)  # of each channel on the way to the next colour
    away = torch.minimum(place, torch.sub(4, place, out=values), out=place).clamp_(0, 1).mul_(spread[:, None])
    return _bytes(torch.sub(high[:, None], away, out=away).mul_(255.999))


def _sixths(
    values: Float[Tensor, "B 3 H W"], red: Bool[Tensor, "B H W"], green: Bool[Tensor, "B H W"]
) -> Float[Tensor, "B H W"]:
    """Hues in sixths of the circle, by which channel is the highest. `lerp` by 0 or 1 takes one of two values as it is,
    in a tenth of the time of `where`."""
    r, g, b = values.unbind(1)
    others = torch.lerp((r - g).add_(4), (b - r).add_(2), green.float())
    return torch.lerp(others, g - b, red.float())


def grey(images: Images) -> Images:
    """Without colours, in three equal channels."""
    return _bytes(_grey(images)).expand_as(images)


def solarise(images: Images, threshold: int = 128) -> Images:
    """Values from the threshold on inverted."""
    return torch.where(images >= threshold, 255 - images, images)


def blur(images: Images, sigma: Amounts, size: int) -> Images:
    """A Gaussian blur, reflected at the edges; it is separable, so each axis is blurred by itself.

    Args:
        images: larger than half of `size`.
        sigma: standard deviation in pixels.
        size: of the kernel in pixels, an odd number.
    """
    half, (count, _, height, width) = size // 2, images.shape
    places = torch.arange(size, device=images.device) - half
    kernels = (-0.5 * (places / sigma[:, None].float()) ** 2).softmax(dim=1)
    values = F.pad(images.float(), (half, half, half, half), mode="reflect")
    down = _down(values.flatten(0, 1), kernels.repeat_interleave(3, dim=0))
    across = _across(down.view(count, 3 * height, width + 2 * half), kernels)
    return _bytes(across.round_()).reshape(images.shape)


_BLOCK = 32
"""Pixels of a line that one product blurs: more of them multiply more zeros, fewer take more products."""


def _down(values: Float[Tensor, "B n W"], kernels: Float[Tensor, "B k"]) -> Float[Tensor, "B _n W"]:
    """Columns weighed by a kernel at each place. As products of matrices it takes a third of the time of convolutions,
    and the sums are the same, in the same order."""
    bands, more = _bands(kernels), kernels.shape[1] - 1
    parts = [(at, min(_BLOCK, values.shape[1] - more - at)) for at in range(0, values.shape[1] - more, _BLOCK)]
    return torch.cat([bands[:, :n, : n + more] @ values[:, at : at + n + more] for at, n in parts], dim=1)


def _across(values: Float[Tensor, "B H n"], kernels: Float[Tensor, "B k"]) -> Float[Tensor, "B H _n"]:
    """Rows weighed by a kernel at each place, see `_down`; turning them into columns would take longer."""
    bands, more = _bands(kernels).mT, kernels.shape[1] - 1
    parts = [(at, min(_BLOCK, values.shape[2] - more - at)) for at in range(0, values.shape[2] - more, _BLOCK)]
    return torch.cat([values[:, :, at : at + n + more] @ bands[:, : n + more, :n] for at, n in parts], dim=2)


def _bands(kernels: Float[Tensor, "B k"]) -> Float[Tensor, "B b n"]:
    """Matrices with the kernel in each row, one place further to the right in each."""
    count, size = kernels.shape
    rows = kernels.new_zeros(count, _BLOCK, _BLOCK + size)
    rows[:, :, :size] = kernels[:, None]
    return rows.flatten(1)[:, : _BLOCK * (_BLOCK + size - 1)].view(count, _BLOCK, _BLOCK + size - 1)


def _wide(amounts: Tensor) -> Tensor:
    return amounts.float()[:, None, None, None]


def _rest(factor: Tensor) -> Tensor:
    return _wide(1.0 - factor.double())


def _times(images: Tensor, factor: Tensor) -> Float[Tensor, "B 3 H W"]:
    return images.float().mul_(_wide(factor))


def _grey(images: Tensor) -> Float[Tensor, "B 1 H W"]:
    """The grey of each pixel, rounded down."""
    r, g, b = images.unbind(1)
    return r.float().mul_(0.2989).add_(g, alpha=0.587).add_(b, alpha=0.114).floor_()[:, None]


def _whole(values: Tensor) -> Tensor:
    return _bytes(values.clamp_(0, 255))


def _bytes(values: Tensor) -> Tensor:
    return values.to(torch.int16).to(torch.uint8)  # in two steps it takes a quarter of the time
