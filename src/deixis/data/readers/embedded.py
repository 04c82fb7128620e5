"""What the image files of a folder say of themselves, as columns."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deixis.data.readers.captions import BROKEN_XMP, Tally, excerpt
from deixis.inputs.metadata import metadata
from deixis.inputs.read_ahead import read_ahead
from deixis.types.samples import Skipped

__all__ = ["embedded_captions", "embedded_columns"]

_THREADS, _AHEAD = 8, 256


def embedded_columns(root: Path, images: Sequence[str], skipped: list[Skipped]) -> dict[str, dict[str, Any]]:
    """Name of an image -> its columns, of those that bring any; XMP that is broken is added to `skipped`."""
    found = {}
    threads = min(_THREADS, len(os.sched_getaffinity(0)))
    with read_ahead(lambda name: metadata(root / name), images, threads=threads, ahead=_AHEAD) as results:
        for name, read in zip(images, results, strict=True):
            if read.broken:
                skipped.append(Skipped(name, BROKEN_XMP, excerpt(read.broken, 200)))
            if columns := read.columns():
                found[name] = columns
    return found


def embedded_captions(
    columns: Mapping[str, Mapping[str, Any]], names: Sequence[str], tally: Tally
) -> dict[str, tuple[str, ...]]:
    """Name of an image -> its captions, taken from these columns."""
    captions = {}
    for image, values in columns.items():
        texts = (values[name] for name in names if name in values)
        captions[image] = tally.clean((", ".join(text) if isinstance(text, list) else text for text in texts), image)
    return {image: texts for image, texts in captions.items() if texts}
