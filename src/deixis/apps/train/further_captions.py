"""Sentences of a csv as further captions of the pictures of a run."""

from __future__ import annotations

import collections
import dataclasses

from deixis.apps.common.dataset import read
from deixis.apps.common.formatting import counted
from deixis.errors import DeixisError
from deixis.types import Sample, Source, place

__all__ = ["with_sentences"]


def with_sentences(source: Source, path: str) -> Source:
    """The source with the sentences of each picture behind its own captions.

    Args:
        source: of the run.
        path: a csv with rows `path,caption`.

    Raises:
        DeixisError: the csv can't be read, or has no sentence for any of the pictures.
    """
    said: dict[str, list[str]] = collections.defaultdict(list)
    for sample in read(path).samples:
        said[place(sample.picture)] += sample.captions
    samples = tuple(_extended(sample, said.get(_place(sample), ())) for sample in source.samples)
    missing = sum(_place(sample) not in said for sample in source.samples)
    if missing == len(samples):
        raise DeixisError(
            f"{path} has no sentence for any of the {counted(missing, 'picture')} of {source.name!r}.",
            "Write it for this data: deixis caption DATA --sentences --out sentences.csv",
        )
    note = (f"{counted(missing, 'picture')} of {len(samples)} have no sentence in {path}.",) if missing else ()
    return dataclasses.replace(source, samples=samples, notes=(*source.notes, *note))


def _place(sample: Sample) -> str:
    return "" if sample.image is None else place(sample.image)


def _extended(sample: Sample, sentences: list[str] | tuple[()]) -> Sample:
    return dataclasses.replace(sample, captions=(*sample.captions, *sentences))
