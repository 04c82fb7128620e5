"""Describes pictures, by a method that offers `caption`."""

from __future__ import annotations

from typing import Any

from deixis.apps.common.options import ComputeSettings
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.predict.capable import Model, open_method
from deixis.apps.predict.pictures import BatchPredictor, predict, with_names
from deixis.apps.predict.texts import picture_texts
from deixis.types.protocols import OffersCaption

__all__ = ["caption", "caption_with"]


@takes_settings(compute=ComputeSettings)
def caption(model: Model, images: Any) -> list[str]:
    """Describes pictures.

    Args:
        model: the folder of a run whose method offers `caption`, or such a method.
        images: one or several paths, Pillow images or arrays [H, W, 3].

    Returns:
        One text a picture.

    Raises:
        DeixisError: the model does not offer it (the message says which methods do), or a picture can't be read.
    """
    method = open_method(model, "caption")
    return [each.texts[0] for each in predict(method, with_names(images), caption_with(method))]


def caption_with(method: OffersCaption) -> BatchPredictor:
    """What calls the method on a batch."""
    return lambda pixels, shown: picture_texts("caption", method.caption(pixels), shown)
