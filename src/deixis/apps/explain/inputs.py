"""What a model is given, and where on the pictures that lies which it sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deixis.data.loading.crops import Window, visible_window
from deixis.errors import DeixisError
from deixis.inputs.images import open_image, pictures_in
from deixis.inputs.preprocess import Preprocess

__all__ = ["LONGEST", "ModelInputs", "Transform", "framed", "model_inputs"]

LONGEST = 1024
"""Pixels of the longer side of a picture that a map is drawn on, at the most."""

Transform = Preprocess | Callable[[Image.Image], Tensor]
"""What makes a model's input of a picture; of a Pillow image [3, H, W]."""

_WHOLE = Window(0.0, 0.0, 1.0, 1.0)


class ModelInputs(NamedTuple):
    """Images as a model takes them, the pictures, and which part of each it sees."""

    pixels: Float[Tensor, "B c H W"]
    pictures: tuple[Image.Image, ...]
    windows: tuple[Window, ...]


def model_inputs(
    images: Float[Tensor, "B c H W"] | Iterable[Any], transform: Transform | None, *, with_pictures: bool = True
) -> ModelInputs:
    """Reads and preprocesses pictures; a batch that is preprocessed already is shown as the model sees it.

    Args:
        images: a batch; or paths, Pillow images, arrays, tensors [3, H, W] and what else `load_image` takes.
        transform: what makes the model's input.
        with_pictures: whether they are wanted; making them of a batch takes a millisecond or two each.

    Raises:
        DeixisError: there is no transform, or it gives no tensors of one size; a picture can't be read.
    """
    if isinstance(images, Tensor):
        known = (transform.mean, transform.std) if isinstance(transform, Preprocess) else ((), ())
        plain = with_pictures and images.dim() == 4 and images.shape[1] in (1, 3)
        pictures = tuple(_shown(each, *known) for each in images) if plain else ()
        return ModelInputs(images, pictures, (_WHOLE,) * len(pictures))
    if transform is None:
        raise DeixisError(
            "Pictures were given without a transform to the model's input.",
            "Give preprocess=, the transform that belongs to the weights; or give a batch of tensors.",
        )
    sources = pictures_in(images)
    if isinstance(transform, Preprocess):
        pictures = tuple(open_image(each, smallest=LONGEST) for each in sources)
        windows = tuple(visible_window(transform, *each.size) for each in pictures)
        same = transform.smallest == LONGEST  # both decode to the same pixels: once is enough
        pixels = transform.batch(pictures) if same else transform.read(sources)
        return ModelInputs(pixels, tuple(map(_small, pictures)), windows)
    pictures = tuple(open_image(each) for each in sources)
    pixels = _stacked([transform(each) for each in pictures])
    frames = {size: framed(transform, size) for size in {each.size for each in pictures}}
    found = tuple(frames[each.size] for each in pictures)
    shown = [p if f else _shown(x) for p, f, x in zip(pictures, found, pixels, strict=True)]
    return ModelInputs(pixels, tuple(map(_small, shown)), tuple(each or _WHOLE for each in found))


def _small(picture: Image.Image) -> Image.Image:
    if max(picture.size) <= LONGEST:
        return picture
    picture = picture.copy()
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.HAMMING)  # a third of the time of LANCZOS
    return picture


def _stacked(rows: Sequence[Any]) -> Tensor:
    shapes = {tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__ for each in rows}
    if len(shapes) != 1 or not isinstance(rows[0], Tensor):
        raise DeixisError(
            f"The transform gives {' and '.join(map(str, sorted(map(str, shapes))))}.",
            "It must give for every picture a tensor [3, H, W] of the same size.",
        )
    return torch.stack(list(rows))


def _shown(image: Float[Tensor, "3 H W"], mean: Sequence[float] = (), std: Sequence[float] = ()) -> Image.Image:
    """A model's input as a picture: by mean and standard deviation where they are known, else from its least value to
    its greatest."""
    values = image.detach().cpu().float()
    if mean:
        scale, shift = (255 * values.new_tensor(each)[:, None, None] for each in (std, mean))
    else:
        least, greatest = values.aminmax()
        scale = 255 / (greatest - least).clamp(min=1e-12)
        shift = -least * scale
    pixels = (values * scale + shift + 0.5).clamp(0, 255).byte().expand(3, -1, -1)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


# Where a map lies


def framed(transform: Callable[[Any], Any], size: tuple[int, int]) -> Window | None:
    """The part of pictures of one size that a transform keeps, found by what it makes of a black picture, a white one
    and one that grows brighter to the right in red and downwards in green.

    Args:
        transform: Pillow image -> [3, H, W].
        size: of the pictures, width and height.

    Returns:
        None where it does more than resize, cut, pad and scale values.
    """
    width, height = size
    ramps = np.zeros((height, width, 3), np.uint8)
    ramps[..., 0] = np.rint(255 * (np.arange(width) + 0.5) / width)
    ramps[..., 1] = np.rint(255 * (np.arange(height) + 0.5) / height)[:, None]
    pictures = (Image.fromarray(ramps), Image.new("RGB", size), Image.new("RGB", size, "white"))
    ramp, black, white = (np.asarray(transform(each), np.float64)[:2] for each in pictures)
    reach = white - black
    inside = (np.abs(reach) > 0.99 * np.abs(reach).max((1, 2), keepdims=True)).all(0) & (reach != 0).all(0)
    if not inside.any():
        return None
    shares = np.where(inside, ramp - black, 0) / np.where(inside, reach, 1)
    ends = [_line(np.moveaxis(share, axis, 0), np.moveaxis(inside, axis, 0)) for share, axis in zip(shares, (1, 0))]  # noqa: B905
    if ends[0] is None or ends[1] is None:
        return None
    return Window(ends[0][0], ends[1][0], ends[0][1], ends[1][1])


def _line(shares: NDArray[np.float64], inside: NDArray[np.bool_]) -> tuple[float, float] | None:
    """The values at both ends of the first axis, along which they should grow evenly."""
    places, values = np.nonzero(inside)[0], shares[inside]
    if places.min() == places.max():
        return None
    slope, start = np.polyfit(places, values, 1)
    if np.abs(values - (slope * places + start)).max() > 0.02 or abs(slope) * len(shares) < 0.01:
        return None
    return float(start - slope / 2), float(start + slope * (len(shares) - 0.5))
