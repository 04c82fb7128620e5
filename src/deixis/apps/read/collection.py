"""What is written in the pictures of a collection, as a column of it."""

from __future__ import annotations

import dataclasses

from deixis.apps.common.console import Reporter
from deixis.apps.predict.capable import open_or_default
from deixis.apps.read.read import read_pictures
from deixis.errors import DeixisError
from deixis.types import Source

__all__ = ["SAYS", "with_words"]

SAYS = "says"
"""The column."""


def with_words(source: Source, talk: Reporter) -> Source:
    """The samples with a column of the words that are read in their pictures; it is empty where there are none.

    Args:
        source: with images.
        talk: receives progress.

    Raises:
        DeixisError: the reader is not in the cache, or the data has a column of that name.
    """
    if any(SAYS in sample.extra for sample in source.samples):
        raise DeixisError(f"{source.name} has a column {SAYS!r} already.", "Rename it, or leave --read out.")
    reader, texts = open_or_default("", "read"), dict[str, str]()
    pictures = [(sample.id, sample.image) for sample in source.samples if sample.image is not None]
    with talk.bar("read words") as bar:
        for done, each in enumerate(read_pictures(reader, reader, pictures, lambda path, error: None), 1):
            texts[each.path] = each.text
            bar(done, len(pictures))
    samples = (dataclasses.replace(each, extra={**each.extra, SAYS: texts.get(each.id, "")}) for each in source.samples)
    found = dataclasses.replace(source, samples=tuple(samples))
    talk.say(f"Words were read in {sum(map(bool, texts.values()))} of {len(pictures)} pictures.")
    return found
