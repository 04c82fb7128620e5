"""Reads what is written in pictures: by a reader that finds lines of text, or by a method that offers `read`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from deixis.apps.common.console import Reporter
from deixis.apps.common.options import ComputeSettings, Reading
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.predict.capable import Model, open_method, open_or_default
from deixis.apps.predict.pictures import BatchPredictor, Named, predict, with_names
from deixis.apps.predict.settings import PredictOutput, PredictSettings
from deixis.apps.predict.texts import picture_texts
from deixis.apps.predict.writing import write_predictions
from deixis.apps.read.lines import ReadLine, ReadPicture
from deixis.engine.training.batching import preprocess_of
from deixis.errors import DeixisError
from deixis.inputs.images import open_image
from deixis.nn.compute import autocast
from deixis.nn.modes import evaluating
from deixis.nn.reading.text_boxes import TextBox, one_line
from deixis.types.protocols import AnyMethod, HasReadLines, HasReadWords, OffersRead

__all__ = ["read", "read_collection", "read_pictures", "read_with", "read_words"]

Recognise = Callable[[Sequence[Image.Image]], tuple[list[str], list[float]]]
"""Pictures of lines to what is written in them, and how sure that is."""

Skip = Callable[[str, DeixisError], None]


@takes_settings(compute=ComputeSettings)
def read(model: Model, images: Any) -> list[str]:
    """Reads what is written in pictures, as one text a picture.

    Args:
        model: the folder of a run whose method offers `read`, or such a method: each picture is taken as one word or
            line; empty: the reader of `deixis data get reader`, which finds them first, see `read_words`.
        images: one or several paths, Pillow images or arrays [H, W, 3].

    Returns:
        One text a picture.

    Raises:
        DeixisError: the model does not offer it (the message says which methods do), or a picture can't be read.
    """
    if isinstance(model, str) and not model:
        return [each.text for each in read_words(images)]
    method = open_method(model, "read")
    return [each.texts[0] for each in predict(method, with_names(images), read_with(method))]


@takes_settings(compute=ComputeSettings)
def read_words(images: Any, model: Model = "") -> list[ReadPicture]:
    """Finds lines of text in pictures and reads them.

        out = deixis.read_words("photo.jpg")[0]
        out.text, out.words[0].box, out.words[0].chance

    Args:
        images: one or several paths, Pillow images or arrays [H, W, 3].
        model: the folder of a run whose method offers `read`, or such a method, which then reads what the reader finds.

    Raises:
        DeixisError: the reader is not in the cache (the message says how to get it), the model does not offer `read`,
            or a picture can't be read.
    """
    reader = open_or_default("", "read")
    method = reader if isinstance(model, str) and not model else open_method(model, "read")
    return list(read_pictures(reader, method, with_names(images)))


def read_with(method: OffersRead) -> BatchPredictor:
    """What calls the method on a batch."""
    return lambda pixels, shown: picture_texts("text", method.read(pixels), shown)


def read_collection(data: str, settings: PredictSettings, output: PredictOutput, reading: Reading) -> int:
    """Reads the pictures of DATA, and prints or writes what is written in them.

    Without a model the reader finds lines and reads them. With one, the reader finds them and the model reads them;
    where the reader is not in the cache, the model reads each picture as one word.

    Args:
        data: a picture, or a collection.
        settings: model, device, batch and precision.
        output: files, or the terminal.
        reading: columns and the like.

    Returns:
        How many pictures were read.

    Raises:
        DeixisError: there is nothing that reads, nothing can be read, or `out` can't be written.
    """
    with settings.active():
        method = open_or_default(settings.model, "read")
        try:
            reader = method if isinstance(method, HasReadLines) else open_or_default("", "read")
        except DeixisError as error:
            Reporter(output.quiet).say(f"Each picture is read as one word. To find words first: {error.cure}")
            run = read_with(method)
            return write_predictions(data, lambda each, skip: predict(method, each, run, skip), output, reading)
        return write_predictions(data, lambda each, skip: read_pictures(reader, method, each, skip), output, reading)


def read_pictures(
    reader: HasReadLines, method: AnyMethod, pictures: Iterable[Named], skip: Skip | None = None
) -> Iterator[ReadPicture]:
    """What is written in pictures, one by one.

    A picture that is no larger than a line, as words are cut out of photographs, is read whole where no line is found.

    Args:
        reader: finds lines.
        method: reads them; it may be the same.
        pictures: any number.
        skip: called with each picture that can't be read; without it such a picture is an error.

    Raises:
        DeixisError: a picture can't be read, and `skip` is None.
    """
    recognise = method.read_lines if isinstance(method, HasReadLines) else _recogniser(method)
    for path, source in pictures:
        try:
            picture = open_image(source)
        except DeixisError as error:
            if skip is None:
                raise
            skip(path, error)
            continue
        found = _lines(picture, reader.find_text(picture), recognise)
        if not found and (whole := one_line(picture.size)) is not None:
            found = _lines(picture, [(whole, picture)], recognise)
        yield ReadPicture(path, picture, tuple(found))


def _lines(picture: Image.Image, lines: Sequence[tuple[TextBox, Image.Image]], recognise: Recognise) -> list[ReadLine]:
    """Those in which something is read."""
    if not lines:
        return []
    texts, chances = recognise([shown for _, shown in lines])
    sides = np.array([*picture.size, *picture.size])
    boxes = [np.clip(np.array(box.bounds) / sides, 0, 1).tolist() for box, _ in lines]
    rows = zip(texts, boxes, chances, strict=True)
    return [ReadLine(text, (box[0], box[1], box[2], box[3]), chance) for text, box, chance in rows if text.strip()]


def _recogniser(method: Any) -> Recognise:
    """A method that takes batches of one shape; where it does not say how sure it is, the chance is 1."""
    preprocess = preprocess_of(method)
    device = next((each.device for each in method.parameters()), torch.device("cpu"))

    def recognise(pictures: Sequence[Image.Image]) -> tuple[list[str], list[float]]:
        with evaluating(method), torch.no_grad(), autocast(device):
            pixels = preprocess.batch(list(pictures)).to(device)
            if isinstance(method, HasReadWords):
                return method.read_with_chances(pixels)
            return method.read(pixels), [1.0] * len(pictures)

    return recognise
