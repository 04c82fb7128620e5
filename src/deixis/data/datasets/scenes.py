"""A thousand generated scenes of the stamps, with boxes, masks, phrases and questions; see `data.synthetic.scenes`."""

from __future__ import annotations

from deixis.data.synthetic.scenes import scenes
from deixis.types import Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "read"]

DATASET = DatasetCard(
    title="Scenes made from the stamps, with boxes, masks, referring expressions and questions",
    licence="that of the stamps",
    how="generated",
    fields=("captions", "labels", "boxes", "masks", "phrases", "questions"),
    parts=("train", "val", "test"),
)

_COUNT = 1000


def read(part: str = "train") -> Source:
    """The scenes of a split, with the settings as they are.

    Raises:
        DeixisError: the stamps are not in the cache.
    """
    return scenes(0, _COUNT, split=part)
