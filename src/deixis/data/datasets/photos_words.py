"""Words on photographs of `set:photos`, cut out one by one, with what is written on them, typed in by eye.

Some lie on signs, with boxes drawn by eye; of others the set has a mask, which gives the box; the rest were cut out
already. Worn and tiny ones are among them, where a reader knows from the rest of the sign what they are. All are to
measure on.

Words and boxes are part of deixis, in `photos_words.json`, the pictures are not. One that is missing, or was exchanged
since, is left out, and the source says so.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deixis.data.datasets import photos
from deixis.data.datasets.sources.cache import set_name
from deixis.files import content_hash
from deixis.inputs.images import open_image
from deixis.types import Picture, Sample, Skipped, Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "CutWord", "read", "word_boxes"]

DATASET = DatasetCard(
    title="Words on signs of the set photos, cut out and typed in by eye",
    licence="words and boxes: that of deixis; pictures: those of the set photos",
    how="generated",
    fields=("captions",),
)

_NAME = set_name(__name__)
_MARGIN = 0.15
"""By which the box of a mask grows on each side, as a share of its height."""

Box = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class CutWord:
    """A rectangle of a picture, as a picture of its own.

    Attributes:
        path: of the whole.
        box: x0 y0 x1 y1 in pixels of it, ends exclusive.
    """

    path: Path
    box: Box

    @property
    def name(self) -> str:
        """Where it is cut from."""
        return f"{self.path} at {self.box[0]},{self.box[1]}"

    def draw(self) -> np.ndarray:
        """The image, uint8 [H, W, 3]."""
        return np.array(open_image(self.path).crop(self.box))


def word_boxes(mask: np.ndarray, count: int) -> list[Box]:
    """The boxes of the words of a line, x0 y0 x1 y1 with exclusive ends, out of a mask of its letters.

    The widest gaps between columns with letters part the words.

    Args:
        mask: bool [H, W].
        count: of the words.

    Raises:
        ValueError: there are fewer stretches of columns than words.

    >>> word_boxes(np.array([[1, 0, 1, 0, 0, 1], [0, 0, 1, 0, 0, 0]], bool), 2)
    [(0, 0, 3, 2), (5, 0, 6, 1)]
    """
    columns = np.flatnonzero(mask.any(0))
    gaps = np.diff(columns)
    if len(columns) and count <= 1 + int((gaps > 1).sum()):
        breaks = np.sort(np.argsort(-gaps, kind="stable")[: count - 1])
        ends = zip([0, *(breaks + 1)], [*breaks, len(columns) - 1], strict=True)
        return [_around(mask, int(columns[first]), int(columns[last]) + 1) for first, last in ends]
    raise ValueError(f"a mask with {1 + int((gaps > 1).sum())} stretches of letters can't be of {count} words")


def _around(mask: np.ndarray, left: int, right: int) -> Box:
    rows = np.flatnonzero(mask[:, left:right].any(1))
    return (left, int(rows[0]), right, int(rows[-1]) + 1)


def read() -> Source:
    """The words in the order of their pictures; `extra` holds `kind`: how the word was found (`sign`, `mask`, `cut`).

    Raises:
        DeixisError: the set `photos` has not been fetched.
    """
    source = photos.read()
    there = {sample.id: sample for sample in source.samples}
    samples, skipped = list[Sample](), list[Skipped]()
    for row in _rows():
        whole = there.get(row["picture"])
        if whole is None:
            skipped.append(Skipped(row["picture"], "no picture", "deixis data get photos"))
        elif content_hash(_path(whole))[: len(row["sha256"])] != row["sha256"]:
            skipped.append(Skipped(row["picture"], "another picture", "its words were typed in from one that changed"))
        else:
            samples += _words(row, whole)
    notes = (f"{len(skipped)} pictures of the set photos are missing or have changed.",) if skipped else ()
    return Source(_NAME, source.root, "captions", "words cut out of photographs", tuple(samples), tuple(skipped), notes)


def _rows() -> list[Mapping[str, Any]]:
    text = importlib.resources.files(__package__).joinpath("photos_words.json").read_text(encoding="utf-8")
    rows: list[Mapping[str, Any]] = json.loads(text)["pictures"]
    return rows


def _path(sample: Sample) -> Path:
    assert isinstance(sample.picture, Path)
    return sample.picture


def _words(row: Mapping[str, Any], whole: Sample) -> Iterator[Sample]:
    """Each word of a picture: cut out by its box, or by the mask, or the picture itself."""
    boxes: list[Box | None]
    if "boxes" in row:
        kind, boxes = "sign", [(x0, y0, x1, y1) for x0, y0, x1, y1 in row["boxes"]]
    elif "mask" in whole.extra:
        kind, boxes = "mask", [*_masked(Path(whole.extra["mask"]), len(row["words"]))]
    else:
        kind, boxes = "cut", [None]
    for number, (word, box) in enumerate(zip(row["words"], boxes, strict=True), start=1):
        picture: Picture = _path(whole) if box is None else CutWord(_path(whole), box)
        yield Sample(f"{whole.id}#{number}", picture, (word,), groups=whole.groups, extra={"kind": kind}, split="test")


def _masked(path: Path, count: int) -> list[Box]:
    """Boxes of words by a mask, grown a little: letters have rims."""
    mask = np.array(open_image(path))[..., 0] > 127
    height, width = mask.shape
    grown = []
    for x0, y0, x1, y1 in word_boxes(mask, count):
        more = round((y1 - y0) * _MARGIN)
        grown.append((max(0, x0 - more), max(0, y0 - more), min(width, x1 + more), min(height, y1 + more)))
    return grown
