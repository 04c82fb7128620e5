"""Pictures as a method sees them, batch by batch, and what it predicts of each."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from deixis.apps.common.options import Reading
from deixis.apps.explain.inputs import model_inputs
from deixis.data.loading.crops import Window
from deixis.engine.training.batching import preprocess_of
from deixis.errors import DeixisError
from deixis.inputs.images import IMAGE_SUFFIXES, pictures_in, shown_size
from deixis.inputs.read_ahead import read_ahead
from deixis.nn.compute import autocast, batch_size
from deixis.nn.modes import evaluating
from deixis.types import place
from deixis.types.protocols import AnyMethod

__all__ = ["BatchPredictor", "Named", "PictureView", "Prediction", "pictures_of", "predict", "with_names"]

_BATCH = 16

Named = tuple[str, Any]
"""What a picture is called in tables, and the picture."""


@runtime_checkable
class Prediction(Protocol):
    """What a method says of one picture."""

    @property
    def path(self) -> str:
        """Of the picture, or what it is called."""

    def rows(self) -> list[dict[str, Any]]:
        """Rows of a csv, column by column; the path comes before them."""

    def lines(self) -> list[str]:
        """The same for a terminal."""

    def overlay(self) -> Image.Image:
        """The same drawn on the picture."""

    def label_map(self) -> Image.Image | None:
        """Numbers of classes pixel by pixel, where that is what is predicted."""


class PictureView(NamedTuple):
    """A picture, small enough to be shown; the part of it that the model sees, in shares of its sides; its own width
    and height in pixels."""

    path: str
    picture: Image.Image
    window: Window
    size: tuple[int, int]


class _Read(NamedTuple):
    pixels: Tensor
    view: PictureView


class _Unread(NamedTuple):
    path: str
    error: DeixisError


BatchPredictor = Callable[[Float[Tensor, "B 3 H W"], Sequence[PictureView]], Sequence[Any]]
"""A batch, preprocessed, and the same as pictures -> a prediction of each."""


def with_names(images: Any) -> list[Named]:
    """One or several pictures, with what they are called.

    Args:
        images: paths, Pillow images, the content of files, or uint8 tensors [3, H, W].

    Raises:
        DeixisError: there are none.
    """
    return [
        (os.fspath(each) if isinstance(each, str | os.PathLike) else f"image {number}", each)
        for number, each in enumerate(pictures_in(images))
    ]


def pictures_of(data: str, reading: Reading | None = None) -> list[Named]:
    """The pictures of DATA, which may also be a single file.

    Args:
        data: a picture, or what `deixis.apps.common.dataset.read` takes.
        reading: columns and the like.
    """
    if Path(data).suffix.lower() in IMAGE_SUFFIXES and Path(data).is_file():
        return [(data, Path(data))]
    from deixis.apps.common.dataset import read  # a single picture needs none of it

    return [(place(sample.picture), sample.picture) for sample in read(data, reading).samples]


def predict(
    method: AnyMethod,
    pictures: Iterable[Named],
    run: BatchPredictor,
    skip: Callable[[str, DeixisError], None] | None = None,
) -> Iterator[Any]:
    """What a method says of pictures, in order; threads read the next batch, and no more than two are in memory.

    Args:
        method: in whose eyes; mode and weights are afterwards as before.
        pictures: any number.
        run: calls the method on a batch.
        skip: called with each picture that can't be read; without it such a picture is an error.

    Raises:
        DeixisError: a picture can't be read, and `skip` is None.
    """
    preprocess, size = preprocess_of(method), batch_size(_BATCH)
    device = next((each.device for each in method.parameters()), torch.device("cpu"))

    def read_one(named: Named) -> _Read | _Unread:
        path, picture = named
        try:
            looked = model_inputs([picture], preprocess)
            return _Read(looked.pixels, PictureView(path, looked.pictures[0], looked.windows[0], shown_size(picture)))
        except DeixisError as error:
            return _Unread(path, error)

    with read_ahead(read_one, pictures, ahead=size) as waiting:
        while batch := list(itertools.islice(waiting, size)):
            pixels, shown = [], []
            for each in batch:
                if isinstance(each, _Read):
                    pixels.append(each.pixels)
                    shown.append(each.view)
                elif skip is None:
                    raise each.error
                else:
                    skip(each.path, each.error)
            if shown:
                with evaluating(method), torch.no_grad(), autocast(device):
                    found = run(torch.cat(pixels).to(device), shown)
                yield from found
