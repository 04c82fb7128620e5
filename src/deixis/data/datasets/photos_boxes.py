"""Photographs with boxes for what phrases name, drawn by eye: 80 pictures of `set:photos` and `set:gcompris`.

Each phrase is a plain noun ("a dog", "horses"), or says which one is meant: by place, size, colour or what it stands
beside. A phrase that names several things is a phrase of each of their regions. `extra["absent"]` holds phrases for
what a picture does not show, and might.

A third of the first 56 is to choose by (`set:photos-boxes/val`), the rest is to measure on (`set:photos-boxes/test`);
no kind of thing is on both sides. The other 24 (`set:photos-boxes/blind`) were drawn before anything of deixis had
answered on them, and are to measure on once something else has been chosen: they come where they are named, alone.

The boxes are part of deixis, in `photos_boxes.json`, the pictures are not. One that
is missing, or was exchanged since, is left out, and the source says so.
"""

from __future__ import annotations

import collections
import importlib.resources
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deixis.data.datasets import gcompris, photos
from deixis.data.datasets.sources.cache import finished, home, set_name, writing
from deixis.errors import DeixisError
from deixis.files import cache_dir, content_hash
from deixis.types import Phrase, Region, Sample, Skipped, Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "fetch", "read"]

DATASET = DatasetCard(
    title="Boxes for phrases on 80 photographs of the sets photos and gcompris, drawn by eye, with absent phrases",
    licence="boxes and phrases: that of deixis; pictures: those of the sets photos and gcompris",
    how="apt",
    size_mb=145,
    fields=("boxes", "phrases"),
    parts=("val", "test", "blind"),
)

_NAME = set_name(__name__)
_OPEN = ("val", "test")
"""What comes where no part is named."""

_SETS = {set_name(each.__name__): each for each in (photos, gcompris)}


def fetch(say: Callable[[str], None]) -> Path:
    """Puts the pictures of both sets into the cache; does nothing if they are there.

    Raises:
        DeixisError: a set cannot be had (see `packages.debian_package`).
    """
    for each in _SETS.values():
        each.fetch(say)
    if not finished(_NAME):
        with writing(_NAME, licence=DATASET.licence) as (_, marker):
            marker["pictures"] = {name: str(home(name)) for name in _SETS}
    return home(_NAME)


def read(part: str = "") -> Source:
    """The pictures of `val` and `test`, or those of one part.

    Raises:
        DeixisError: neither set has been fetched.
    """
    if not any(map(finished, _SETS)):
        where = " and ".join(_SETS)
        raise DeixisError(f"The pictures of {where} are not in {cache_dir('sets')}.", f"Run: deixis data get {_NAME}")
    samples, skipped = [], []
    for row in _rows():
        if row["split"] in ((part,) if part else _OPEN):
            path = cache_dir("sets", row["set"]) / row["picture"]
            if not path.is_file():
                skipped.append(Skipped(_id(row), "no picture", f"deixis data get {row['set']}"))
            elif content_hash(path)[: len(row["sha256"])] != row["sha256"]:
                skipped.append(Skipped(_id(row), "another picture", "its boxes were drawn on one that has changed"))
            else:
                samples.append(_sample(row, path))
    present = sum(len({phrase.text for region in each.regions for phrase in region.phrases}) for each in samples)
    notes = [f"{present} phrases, and {sum(len(each.extra['absent']) for each in samples)} for what is not there."]
    missing = collections.Counter(each.path.partition("/")[0] for each in skipped)
    notes += [f"{count} pictures of the set {name} are missing or have changed." for name, count in missing.items()]
    name = "/".join(filter(None, (_NAME, part)))
    layout = "photographs with boxes"
    return Source(name, cache_dir("sets"), "images", layout, tuple(samples), tuple(skipped), tuple(notes))


def _rows() -> list[Mapping[str, Any]]:
    text = importlib.resources.files(__package__).joinpath("photos_boxes.json").read_text(encoding="utf-8")
    rows: list[Mapping[str, Any]] = json.loads(text)["pictures"]
    return rows


def _id(row: Mapping[str, Any]) -> str:
    return f"{row['set']}/{row['picture']}"


def _sample(row: Mapping[str, Any], path: Path) -> Sample:
    phrases: dict[int, list[Phrase]] = collections.defaultdict(list)
    for text, places, *anchors in row["phrases"]:
        for place in places:
            phrases[place].append(Phrase(text, tuple(*anchors)))
    regions = tuple(
        Region((x0, y0, x1, y1), category, tuple(phrases[place]))
        for place, (category, x0, y0, x1, y1) in enumerate(row["boxes"])
    )
    groups = tuple(f"concept:{category}" for category in dict.fromkeys(region.category for region in regions))
    extra = {"absent": tuple(row["absent"])}
    return Sample(_id(row), path, groups=groups, extra=extra, split=row["split"], regions=regions)
