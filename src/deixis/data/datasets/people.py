"""Drawn people, six pictures of each; see `data.synthetic.people`. Nobody is shown."""

from __future__ import annotations

from deixis.data.synthetic.people import people
from deixis.types import Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "read"]

DATASET = DatasetCard(
    title="2,000 drawn people of 64 x 32 pixels, six pictures of each, captions with the places of attributes",
    licence="that of deixis",
    how="generated",
    fields=("captions", "labels", "boxes", "phrases"),
    parts=("train", "val", "test"),
)


def read(part: str = "train") -> Source:
    """The people of a split."""
    return people(split=part)
