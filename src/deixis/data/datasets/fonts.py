"""Eleven free families of fonts, upright and italic, printed and written by hand: what scene text is drawn with.

They come from Debian's packages `fonts-*`, as `FAMILY/FILE.otf` or `.ttf`; fine cuts, which vanish in small
pictures, are left out. In each, small letters and capitals look different, so that a word can be read as it is spelt.
Reading the set gives words drawn with them (`data.synthetic.scene_text`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from deixis.data.datasets import words
from deixis.data.datasets.sources.cache import finished, home, set_name, workshop, writing
from deixis.data.datasets.sources.packages import copy_files, debian_package
from deixis.data.synthetic.typefaces import FAMILIES, SUFFIXES
from deixis.types import Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "fetch", "read"]

DATASET = DatasetCard(
    title="Fonts of eleven free families, for drawing scene text",
    licence="OFL-1.1 (fonts of many authors, see the files copyright)",
    how="apt",
    size_mb=2,
    fields=("captions", "labels"),
    parts=("train", "val", "test"),
)

_NAME = set_name(__name__)


def fetch(say: Callable[[str], None]) -> Path:
    """Puts the fonts into the cache; does nothing if they are there.

    Raises:
        DeixisError: a package cannot be had; see `packages.debian_package`.
    """
    if finished(_NAME):
        return home(_NAME)
    with workshop(_NAME) as work, writing(_NAME, licence=DATASET.licence) as (folder, marker):
        marker["packages"], marker["files"] = {}, 0
        for family in FAMILIES:
            package = f"fonts-{family}"
            unpacked = debian_package(package, work, say)
            share = unpacked.folder / "usr/share"
            marker["packages"][package] = unpacked.version
            marker["files"] += copy_files(share / "fonts", folder / family, SUFFIXES)
            notice = share / "doc" / package / "copyright"
            if notice.is_file():
                shutil.copyfile(notice, folder / family / "copyright")
    say(f"{_NAME}: {marker['files']} fonts in {home(_NAME)}")
    return home(_NAME)


def read(part: str = "train") -> Source:
    """A thousand words drawn with the fonts; see `data.synthetic.scene_text`.

    Raises:
        DeixisError: they have not been fetched.
    """
    return words.read(part)
