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
    return _whole(images * _wide(factor))


def contrast(images: Images, factor: Amounts) -> Images:
    """Mixed with the mean grey of each image: 0 is that grey, 1 the image."""
    return _mixed(images, _grey(images).mean(dim=(-3, -2, -1), keepdim=True), factor)


def saturation(images: Images, factor: Amounts) -> Images:
    """Mixed with the grey image: 0 is grey, 1 the image."""
    return _mixed(images, _grey(images), factor)


def hue(images: Images, turn: Amounts) -> Images:
    """The hue of each pixel turned, in turns of the circle of colours (-0.5 to 0.5)."""
    values = images / 255
    r, g, b = values.unbind(1)
    high = torch.maximum(torch.maximum(r, g), b)  # `aminmax` over channels takes ten times as long
    spread = high - torch.minimum(torch.minimum(r, g), b)
    red, green, blue = (values / (spread + (spread == 0))[:, None]).unbind(1)
    sixths = torch.where(high == r, green - blue, torch.where(high == g, blue - red + 2, red - green + 4))
    turned = (sixths + 6 * _wide(turn)[:, 0])[:, None] + images.new_tensor([5, 3, 1])[:, None, None]
    place = torch.sub(turned, (turned * (1 / 6)).floor_(), alpha=6)  # of each channel on the way to the next colour
    away = torch.minimum(place, 4 - place).clamp_(0, 1).mul_(spread[:, None])
    return _whole((high[:, None] - away).mul_(255.999))


def grey(images: Images) -> Images:
    """Without colours, in three equal channels."""
    return _grey(images).to(torch.uint8).expand_as(images)


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
    count, _, height, width = images.shape
    places = torch.arange(size, device=images.device) - size // 2
    kernels = (-0.5 * (places / sigma[:, None].float()) ** 2).softmax(dim=1).repeat_interleave(3, dim=0)[:, None]
    half = size // 2
    values = F.pad(images.float(), (half, half, half, half), mode="reflect").reshape(1, count * 3, *_plus(images, size))
    values = F.conv2d(values, kernels[:, :, :, None], groups=count * 3)
    values = F.conv2d(values, kernels[:, :, None, :], groups=count * 3)
    return values.round_().to(torch.uint8).reshape(count, 3, height, width)


def _plus(images: Tensor, size: int) -> tuple[int, int]:
    return images.shape[2] + size - 1, images.shape[3] + size - 1


def _wide(amounts: Tensor) -> Tensor:
    return amounts.float()[:, None, None, None]


def _grey(images: Tensor) -> Float[Tensor, "B 1 H W"]:
    """The grey of each pixel, rounded down."""
    r, g, b = images.unbind(1)
    return r.mul(0.2989).add_(g, alpha=0.587).add_(b, alpha=0.114).floor_()[:, None]


def _mixed(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return _whole(torch.addcmul(images * _wide(factor), other, _wide(1.0 - factor.double())))


def _whole(values: Tensor) -> Tensor:
    return values.clamp_(0, 255).to(torch.int16).to(torch.uint8)  # in two steps it takes a quarter of the time
