"""What finds lines of text in pictures and reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deixis.nn.reading.pp_ocr import PpOcr
from deixis.types import PartKind, PartSource, Source
from deixis.types.protocols import TextReader
from deixis.zoo.parts import no_such_part
from deixis.zoo.reader import pp_ocr

__all__ = ["PART", "load"]

PART = PartKind(
    gives="boxes of lines of text in a picture of any size, and what is written in each",
    protocol="TextReader",
    sources=(
        PartSource(
            "ppocr",
            "ppocr",
            "PP-OCRv4 for Chinese and English, through onnxruntime",
            "15 MB once, by `deixis data get reader`; and deixis[read]",
        ),
        PartSource("tiny", "tiny", "dark pixels are text, and all of it is `a`; for tests"),
    ),
)


def load(name: Any, *, source: Source | None = None, seed: int = 0) -> TextReader:
    """The reader called `name`; one that exists already is given back.

    Args:
        name: see `PART`.
        source: not asked.
        seed: not asked.

    Raises:
        DeixisError: no such name, or it is not in the cache.
    """
    if not isinstance(name, str):
        reader: TextReader = name
        return reader
    if name == "ppocr":
        return pp_ocr.load()
    if name == "tiny":
        return PpOcr(_dark, _only_one, ("a",), "tiny")
    raise no_such_part("reader", name)


def _dark(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return (images.mean(1, keepdims=True) < 0).astype(np.float32)


def _only_one(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.tile(np.array([0.1, 0.9], np.float32), (len(images), 4, 1))
