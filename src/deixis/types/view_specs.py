"""What a method asks of images, as plain literals: sizes, crops, and what is varied."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["Augment", "Crop", "ViewSpec"]


@dataclasses.dataclass(frozen=True)
class Augment:
    """What is varied at random in an image, in this order; drawn for each by the seed, the epoch and the sample's id.

    Attributes:
        scale: range of the area that is kept: a share of the image's, or with `square` of the largest square's.
        shape: of what is kept: `ratio` (width by height within `ratio`, as torchvision's RandomResizedCrop), `square`,
            or `image` (the image's own). It is resized to the size asked for, whatever its shape.
        ratio: range of width by height.
        pad: border of black around the image before it is cropped, as a share of its width and height.
        flip: chance that the image is mirrored left to right. Never mirrored is a sample whose texts name a side, or
            whose source says that its images show text.
        jitter: how far brightness, contrast and saturation are changed, as factors (1 - x to 1 + x), and the hue, in
            turns of the circle of colours (-x to x); in random order.
        jitter_chance: that they are changed.
        grey: chance that the colours are taken out.
        blur: chance of a Gaussian blur.
        sigma: range of its standard deviation, in pixels.
        solarise: chance that values from 128 on are inverted.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    shape: Literal["ratio", "square", "image"] = "ratio"
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    pad: float = 0.0
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_chance: float = 0.8
    grey: float = 0.0
    blur: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)
    solarise: float = 0.0


@dataclasses.dataclass(frozen=True)
class Crop:
    """A group of random crops: how many, their side in pixels, and how they are cut out and varied."""

    count: int
    size: int
    augment: Augment = Augment()


@dataclasses.dataclass(frozen=True)
class ViewSpec:
    """What a method asks of the images.

    Attributes:
        size: side of a square in pixels; the height, where `width` is given; the short side, where `longest` is. 0 is
            the size of the model's own preprocessing.
        crops: groups of random crops.
        boxes: whether the crops' places are needed.
        augment: how the images themselves are varied in training; None: they are not.
        width: in pixels, where images are no squares (0: they are). All of an image is resized to that shape.
        longest: where images keep their shape, what the long side may reach (0: they do not keep it).
    """

    size: int = 224
    crops: tuple[Crop, ...] = ()
    boxes: bool = False
    augment: Augment | None = None
    width: int = 0
    longest: int = 0
