"""A thousand words drawn with the set `fonts`, as cameras see them; see `data.synthetic.scene_text`."""

from __future__ import annotations

from deixis.data.synthetic import scene_text
from deixis.types import Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "read"]

DATASET = DatasetCard(
    title="Words drawn with the fonts, turned, bent and blurred",
    licence="that of the fonts",
    how="generated",
    fields=("captions", "labels"),
    parts=("train", "val", "test"),
)

_COUNT = 1000


def read(part: str = "train") -> Source:
    """The words of a split, with the settings as they are.

    Raises:
        DeixisError: the fonts are not in the cache.
    """
    return scene_text.words(0, _COUNT, split=part)
