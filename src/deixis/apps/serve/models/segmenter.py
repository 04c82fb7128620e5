"""Colours the pixels of a picture by classes of any name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from deixis.apps.common.concepts import concept_names, read_concepts
from deixis.apps.search.searcher import Searcher
from deixis.apps.segment.class_list import checked_classes
from deixis.apps.segment.run_words import segmenter_of_run
from deixis.apps.segment.segment import default_segmenter, segment
from deixis.apps.segment.settings import AUTO_NAME, SegmentSettings
from deixis.types import Segments
from deixis.types.region_drawing import COLOURS

__all__ = ["class_colour", "colour_layer", "segmented"]

_SIDE = 1024  # of a layer
_OPAQUE = 150  # of 255


def segmented(method: Any, picture: Image.Image, classes: Sequence[str], searcher: Searcher) -> Segments:
    """The class of each pixel.

    Args:
        method: that segments classes of any name.
        picture: decoded.
        classes: their names; those with a concept that the run was taught are read by the run's model, and the others
            with them. Other words in angle brackets are words.
        searcher: of the run that is served.

    Raises:
        DeixisError: a class has no words, or comes twice; or a concept was taught with another model.
    """
    names = checked_classes(classes, SegmentSettings(), concepts=False)
    known = {each.casefold() for each in read_concepts(searcher.run)}
    if any(name.casefold() in known for each in names for name in concept_names(each)):
        ready = segmenter_of_run(str(searcher.run), names, AUTO_NAME, searcher.encoder)
    else:
        ready = default_segmenter(names, like=method)
    found = segment(picture, model=ready)
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
