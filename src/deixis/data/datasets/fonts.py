"""Eleven free families of fonts, upright and italic, printed and written by hand: what scene text is drawn with.

They come from Debian's packages `fonts-*`, as `FAMILY/FILE.otf` or `.ttf`; fine cuts, which vanish in small
pictures, are left out. In each, small letters and capitals look different, so that a word can be read as it is spelt.
Reading the set gives words drawn with them (`data.synthetic.scene_text`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from deixis.data import catalogue
from deixis.data.datasets.sources.packages import copy_files, debian_package
from deixis.data.synthetic import scene_text
from deixis.data.synthetic.typefaces import FAMILIES, SUFFIXES
from deixis.types import Source

__all__ = ["HOW", "LICENCE", "NAME", "SIZE_MB", "TITLE", "fetch", "parts", "read"]

NAME = "fonts"
TITLE = "Fonts of eleven free families, for drawing scene text"
LICENCE = "OFL-1.1 (fonts of many authors, see the files copyright)"
SIZE_MB = 2
HOW = "apt"


def fetch(say: Callable[[str], None]) -> Path:
    """Puts the fonts into the cache; does nothing if they are there.

    Raises:
        DeixisError: a package cannot be had; see `packages.debian_package`.
    """
    if catalogue.finished(NAME):
        return catalogue.home(NAME)
    with catalogue.workshop(NAME) as work, catalogue.writing(NAME, licence=LICENCE) as (folder, told):
        told["packages"], told["files"] = {}, 0
        for family in FAMILIES:
            package = f"fonts-{family}"
            unpacked = debian_package(package, work, say)
            share = unpacked.folder / "usr/share"
            told["packages"][package] = unpacked.version
            told["files"] += copy_files(share / "fonts", folder / family, SUFFIXES)
            notice = share / "doc" / package / "copyright"
            if notice.is_file():
                shutil.copyfile(notice, folder / family / "copyright")
    say(f"{NAME}: {told['files']} fonts in {catalogue.home(NAME)}")
    return catalogue.home(NAME)


def parts() -> tuple[str, ...]:
    """What may follow `set:fonts/`: the splits of the words."""
    return scene_text.parts()


def read(part: str = "train") -> Source:
    """A thousand words drawn with the fonts; see `data.synthetic.scene_text`.

    Raises:
        DeixisError: they have not been fetched.
    """
    return scene_text.read(part)
