"""A thousand generated scenes of the stamps, with boxes, masks, phrases and questions; see `data.synthetic.scenes`."""

from __future__ import annotations

from deixis.data.synthetic.clutter import class_sets, clutter
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.types import Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "read"]

DATASET = DatasetCard(
    title="Scenes made from the stamps, with boxes, masks, referring expressions and questions",
    licence="that of the stamps",
    how="generated",
    fields=("captions", "labels", "boxes", "masks", "phrases", "questions"),
    parts=("train", "val", "test", "clutter", "frames"),
)

_COUNT = 1000
_FRAMES, _MOVED = 300, 0.2
_CLUTTER = {"train": 16, "val": 4, "test": 8}


def read(part: str = "train") -> Source:
    """The scenes of a split, with the settings as they are; of `clutter` all splits of 16 classes, of each of which one
    thing in a scene of emoji is; of `frames` scenes of the split test, each with a second frame in which things have
    moved.

    Raises:
        DeixisError: the stamps, or the emoji, are not in the cache.
    """
    if part == "clutter":
        ((classes, others),) = class_sets("emoji/all", 1, 16, 0)
        return clutter(classes, others, _CLUTTER, 0)
    if part == "frames":
        return scenes(0, _FRAMES, split="test", config=SceneConfig(moved=_MOVED))
    return scenes(0, _COUNT, split=part)
