"""Reads what is written in pictures, by a method that offers `read`."""

from __future__ import annotations

from typing import Any

from deixis.apps.common.options import ComputeSettings
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.predict.capable import Model, open_method
from deixis.apps.predict.pictures import BatchPredictor, predict, with_names
from deixis.apps.predict.texts import picture_texts
from deixis.types.protocols import OffersRead

__all__ = ["read", "read_with"]


@takes_settings(compute=ComputeSettings)
def read(model: Model, images: Any) -> list[str]:
    """Reads what is written in pictures.

    Args:
        model: the folder of a run whose method offers `read`, or such a method.
        images: one or several paths, Pillow images or arrays [H, W, 3].

    Returns:
        One text a picture.

    Raises:
        DeixisError: the model does not offer it (the message says which methods do), or a picture can't be read.
    """
    method = open_method(model, "read")
    return [each.texts[0] for each in predict(method, with_names(images), read_with(method))]


def read_with(method: OffersRead) -> BatchPredictor:
    """What calls the method on a batch."""
    return lambda pixels, shown: picture_texts("text", method.read(pixels), shown)
