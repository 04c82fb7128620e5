"""Colours the pixels of a picture by classes of any name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from deixis.apps.segment.class_list import checked_classes
from deixis.apps.segment.segment import default_segmenter, segment
from deixis.apps.segment.settings import SegmentSettings
from deixis.types import Segments
from deixis.types.region_drawing import COLOURS

__all__ = ["class_colour", "colour_layer", "segmented"]

_SIDE = 1024  # of a layer
_OPAQUE = 150  # of 255


def segmented(method: Any, picture: Image.Image, classes: Sequence[str]) -> Segments:
    """The class of each pixel.

    Args:
        method: that segments classes of any name.
        picture: decoded.
        classes: their names.

    Raises:
        DeixisError: a class has no words, or comes twice.
    """
    names = checked_classes(classes, SegmentSettings(), concepts=False)
    found = segment(picture, model=default_segmenter(names, like=method))
    assert isinstance(found, Segments)
    return found


def class_colour(number: int) -> tuple[int, int, int]:
    """The colour of a class; they are counted from 1."""
    return COLOURS[(number - 1) % len(COLOURS)]


def colour_layer(segments: Segments) -> Image.Image:
    """What is laid over the picture: the colours of the classes, clear where there is none."""
    layer = Image.fromarray(np.asarray(segments.labels.clamp(min=0), np.uint8))
    layer.thumbnail((_SIDE, _SIDE), Image.Resampling.NEAREST)
    layer.putpalette([0, 0, 0, *(part for number in range(1, len(segments.names)) for part in class_colour(number))])
    layer.info["transparency"] = bytes([0] + [_OPAQUE] * (len(segments.names) - 1))
    return layer
