"""Settings of `deixis index`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses
from typing import Literal

from deixis.apps.common.options import ComputeSettings

__all__ = ["IndexSettings"]


@dataclasses.dataclass(frozen=True)
class IndexSettings(ComputeSettings):
    """How an index is built or changed.

    Attributes:
        model: name of a model, or a model or run folder; by default `starter` for a new index, and the index's own
            model for an existing one. An index of an image tower, such as
            `timm:resnet18`, is searched by images alone.
        at: take the vectors of a new index from this place inside the model (a layer, or a place that its method names)
            instead of from its end; `deixis eval DATA --encoders MODEL --at all` compares them. Such an index is
            searched by images alone.
        dtype: number format of the vectors of a new index; float16 takes half the space. With int8 searches read a
            quarter of the bytes and keep no more in memory; the few nearest are scored by the float32 vectors, which
            stay on disk, so results are the same.
        dims: numbers a vector of a new index, along the directions in which its pictures differ most; 0: all. 64 of 384
            take a sixth of the space, and what that costs is measured and reported.
        add: add new and changed images of DATA to the existing index.
        update: like --add, and remove images that are no longer in DATA; moved images are not embedded again.
        verify: with --add or --update, read all files, even those whose size and times are as they were.
        remove: remove images from the existing index; DATA are their ids or paths.
        read: also read what is written in the pictures, for `deixis search --says`; needs `deixis data get reader`, and
            a third of a second a picture.
        approximate: also build a graph for faster approximate search among a million images and more; the recall is
            measured and reported.
    """

    model: str = ""
    at: str = ""
    dtype: Literal["float32", "float16", "int8"] = "float32"
    dims: int = 0
    add: bool = False
    update: bool = False
    verify: bool = False
    remove: bool = False
    read: bool = False
    approximate: bool = False
