"""From an image of any size to the square of normalised values that a model was trained on, described by data."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deixis.errors import DeixisError
from deixis.inputs.images import ImageSource, open_image, pictures_in
from deixis.inputs.opening import is_source
from deixis.inputs.pixels import PixelArray, picture_of
from deixis.inputs.read_ahead import read_ahead

__all__ = ["Interpolation", "Mode", "Preprocess"]

Mode = Literal["pad", "crop", "crop_floor", "squash"]
Interpolation = Literal["bicubic", "bilinear"]

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_SQUARE_PIXELS = 16_000_000
_LONG_SIDES = 16
_REDUCE = 2


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """How images become a model's input; saved with the model.

    Resizing is Pillow's, antialiased, on 8 bits, as in open_clip and timm: mode `crop` equals torchvision's Resize,
    CenterCrop, ToTensor and Normalize on a Pillow image bit for bit (with `crop_share`, timm's evaluation transform).
    On uint8 tensors torchvision differs from that: by at most 2 of 255 and 0.006 on average (v2), 3 and 0.21 (v1, which
    goes through float32), measured on smooth images with noise of 15 thousand to 12 million pixels.

    Two shortcuts bound the memory that extreme shapes take. In mode `crop`, an image more than 16 times as long as wide
    has only its middle resized (within 1 of 255 of the plain way). In mode `pad`, an image whose square would exceed
    both 16 megapixels and twice its own pixels is first made smaller, so that the square has 16 megapixels (500 x 6000
    to 224: 0.13 of 255 on average, 9 at the image's edge).

    Attributes:
        size: side of the square, in pixels.
        mode: `pad` centres the image on a square of `fill` and resizes that: all is seen, shapes are kept. `crop`
            resizes the shorter side to `size / crop_share`, rounded down, and cuts out the centre. `squash` resizes
            both sides to `size`. `crop_floor` is `crop` as transformers does it: where an odd number of pixels
            is cut off, the smaller half goes at the top and left (torchvision: the even half).
        interpolation: `bicubic` or `bilinear`, antialiased.
        mean: of each channel, subtracted; in units of 0 to 1.
        std: of each channel, divided by; in units of 0 to 1.
        crop_share: of the resized shorter side, the share that the crop keeps (both crops only).
        fill: grey value of the padding, 0 to 255 (mode `pad` only); 255 is white.
        reduce: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side keeps `reduce * size`
            pixels; 0 decodes whole, which gives what torchvision, open_clip and transformers give. At 2, the values of
            photographs (1 to 48 megapixels) differ from that by 0.1 to 0.5 of 255 on average; with sharp edges in mode
            `pad`, which centres to whole pixels, by up to 2.
        width: in pixels, where images are no squares, such as those of words, and `size` is their height (mode `squash`
            only); 0: they are squares.

    Raises:
        DeixisError: a value is out of its range.
    """

    size: int = 224
    mode: Mode = "crop"
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    std: tuple[float, float, float] = _IMAGENET_STD
    crop_share: float = 1.0
    fill: int = 255
    reduce: int = _REDUCE
    width: int = 0

    def __post_init__(self) -> None:
        for name, value in _checked(vars(self)).items():
            object.__setattr__(self, name, value)

    def __call__(self, image: ImageSource | Sequence[ImageSource]) -> Float[Tensor, "*B 3 H W"]:
        """One image, resized and normalised; or several of any sizes, as one batch.

        Args:
            image: a path, a Pillow image, an array [H, W, 3] or a tensor [3, H, W], of uint8 or of floats from 0 to 1;
                or a list of such.

        Raises:
            DeixisError: it is nothing of these, or no image that can be read.
        """
        several = not is_source(image) or (isinstance(image, PixelArray) and image.ndim == 4)
        batch = self.batch(pictures_in(image))
        return batch if several else batch[0]

    def batch(self, images: Sequence[ImageSource]) -> Float[Tensor, "B 3 H W"]:
        """Images of any sizes as one batch, in float32; `read` does it in threads.

        Args:
            images: each as for a call.
        """
        values = np.empty((len(images), 3, *self.shape), np.float32)
        for image, row in zip(images, values, strict=True):
            picture = picture_of(image) if isinstance(image, PixelArray) else open_image(image, smallest=self.smallest)
            self._fill(row, self._square(picture))
        return torch.from_numpy(values)

    def read(self, sources: Sequence[ImageSource], threads: int = 1) -> Float[Tensor, "B 3 H W"]:
        """Files or pictures as one batch, in float32: `batch` of `load_image` with `smallest`, in less time.

        Args:
            sources: each as for `load_image`.
            threads: how many are decoded at a time; the order is kept.

        Raises:
            ImageError: a source is no image that can be read.
        """
        values = np.empty((len(sources), 3, *self.shape), np.float32)

        def read(index: int) -> None:
            self._fill(values[index], self._read(sources[index]))

        if threads < 2 or len(sources) < 2:
            for index in range(len(sources)):
                read(index)
        else:
            with read_ahead(read, range(len(sources)), threads=min(threads, len(sources)), ahead=len(sources)) as done:
                list(done)
        return torch.from_numpy(values)

    def square(self, source: ImageSource) -> UInt8[Tensor, "3 H W"]:
        """One file or picture, decoded and resized but not normalised: a quarter of the bytes, to keep or to send.

        Args:
            source: as for `load_image`.

        Raises:
            ImageError: it is no image that can be read.
        """
        return torch.from_numpy(np.array(self._read(source))).permute(2, 0, 1)

    def resized(self, image: UInt8[Tensor, "3 H W"], height: int, width: int) -> UInt8[Tensor, "3 h w"]:
        """All of an image at another size and shape, not normalised."""
        shown = np.asarray(self._resize(picture_of(image), (width, height)))
        return torch.from_numpy(np.array(shown.transpose(2, 0, 1), order="C"))

    def normalise(self, images: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """What `square` or `resized` give as the model takes it, in float32; on the CPU."""
        values = images.numpy().astype(np.float32, order="C")
        self._scale(values)
        return torch.from_numpy(values)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what a model takes."""
        return self.size, self.width or self.size

    @property
    def smallest(self) -> int | None:
        """The pixels that a JPEG's shorter side must keep when it is decoded (`load_image`); None: it stays whole."""
        return self.reduce * max(self.shape) or None

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values for JSON; `from_dict` reads them back.

        `reduce` and `width` stand there only where they were changed: so the fingerprints of models saved before there
        were any hold.
        """
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}
        if self.reduce == _REDUCE:
            del values["reduce"]
        if not self.width:
            del values["width"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Reads what `to_dict` wrote; fields that are not named have their defaults.

        Raises:
            DeixisError: a key is unknown, or a value out of its range.
        """
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        for key in values:
            if key not in defaults:
                close = difflib.get_close_matches(str(key), defaults, n=1)
                hint = f"Did you mean {close[0]!r}? " if close else ""
                raise DeixisError(
                    f"A preprocess has no field {key!r}.", f"{hint}The fields are: {', '.join(defaults)}."
                )
        return cls(**_checked({**defaults, **values}))

    def _read(self, source: ImageSource) -> Image.Image:
        return self._square(open_image(source, smallest=self.smallest))

    def _fill(self, values: NDArray[np.float32], square: Image.Image) -> None:
        values[:] = np.asarray(square).transpose(2, 0, 1)
        self._scale(values)

    def _scale(self, values: NDArray[np.float32]) -> None:
        # By NumPy: torch would split each picture among threads of its own, in every thread that reads pictures.
        values /= 255
        values -= np.array(self.mean, np.float32)[:, None, None]
        values /= np.array(self.std, np.float32)[:, None, None]

    def _square(self, picture: Image.Image) -> Image.Image:
        """The image as a square of the model's side, or in the model's shape."""
        if self.mode in ("crop", "crop_floor"):
            return self._crop(picture)
        if self.mode == "pad":
            picture = self._pad(picture)
        return self._resize(picture, self.shape[::-1])

    def _resize(self, picture: Image.Image, size: tuple[int, int]) -> Image.Image:
        return picture if picture.size == size else picture.resize(size, _FILTERS[self.interpolation])

    def _crop(self, picture: Image.Image) -> Image.Image:
        short, long = sorted(picture.size)
        resized = math.floor(self.size / self.crop_share)
        other = int(resized * long / short)
        width, height = (resized, other) if picture.width <= picture.height else (other, resized)
        half = math.floor if self.mode == "crop_floor" else round
        left, top = half((width - self.size) / 2), half((height - self.size) / 2)
        right, bottom = left + self.size, top + self.size
        if other <= _LONG_SIDES * resized:
            return self._resize(picture, (width, height)).crop((left, top, right, bottom))
        across, down = picture.width / width, picture.height / height
        box = (left * across, top * down, right * across, bottom * down)
        return picture.resize((self.size, self.size), _FILTERS[self.interpolation], box)

    def _pad(self, picture: Image.Image) -> Image.Image:
        side = max(picture.size)
        if side * side > max(_SQUARE_PIXELS, 2 * picture.width * picture.height):
            ratio = math.isqrt(_SQUARE_PIXELS) / side
            width, height = (max(1, round(length * ratio)) for length in picture.size)
            picture, side = self._resize(picture, (width, height)), max(width, height)
        square = Image.new("RGB", (side, side), (self.fill,) * 3)
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        return square


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Preprocess`, in their types (JSON has lists for tuples); or an error that says what is wrong."""
    _require_int("size", values["size"], 1, 16384)
    _require_int("fill", values["fill"], 0, 255)
    _require_int("reduce", values["reduce"], 0, 64)
    _require_int("width", values["width"], 0, 16384)
    _require_choice("mode", values["mode"], get_args(Mode))
    _require_choice("interpolation", values["interpolation"], get_args(Interpolation))
    share = values["crop_share"]
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise DeixisError(f"crop_share is {share!r}.", "It must be above 0 and at most 1, such as 0.875.")
    mean, std = _three("mean", values["mean"]), _three("std", values["std"])
    if min(std) <= 0:
        raise DeixisError(f"std is {std}.", "Each channel's must be above 0, since values are divided by it.")
    if values["width"] and values["mode"] != "squash":
        raise DeixisError(
            f"The width is {values['width']}, and the mode {values['mode']!r}.", "Images of another shape are squashed."
        )
    return {**values, "crop_share": float(share), "mean": mean, "std": std}


def _require_int(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise DeixisError(f"{name} is {value!r}.", f"It must be a whole number from {low} to {high}.")


def _require_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise DeixisError(f"{name} is {value!r}.", f"It must be one of: {', '.join(choices)}.")


def _three(name: str, values: Any) -> tuple[float, float, float]:
    """Three finite numbers, such as a list read from JSON, as floats."""
    cure = "It must be three numbers, for red, green and blue, in units of 0 to 1, such as (0.5, 0.5, 0.5)."
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise DeixisError(f"{name} is {values!r}.", cure) from error
    if not all(math.isfinite(value) and abs(value) <= 10 for value in (red, green, blue)):
        raise DeixisError(f"{name} is {values!r}.", cure)
    return red, green, blue
