"""The Tux Paint stamps: about 950 small pictures, photographs and drawings cut out on nothing, with a line of English.

They come from the Debian package `tuxpaint-stamps-default`, as PNG files with a text file beside each, whose first line
is the English caption. Left out are letters and hand signs (`symbols/alphabets`) and coins and notes (`symbols/money`),
whose captions repeat, and pictures without a text of their own (mirrored twins).

Two stamps are of one concept if they share the head noun of their captions, the caption, or the folder and the stem of
the file name (without the numbers and single letters at its end).

A stamp counts as a photograph if its path stands in `stamps_photos.txt`; the top of that file says how it was made.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from deixis.data import sets
from deixis.data.nouns import head_noun
from deixis.data.packages import copy_files, debian_package
from deixis.files import cache_dir
from deixis.types import Sample, Skipped, Source

__all__ = ["HOW", "LICENCE", "NAME", "SIZE_MB", "TITLE", "family", "fetch", "photographs", "read", "stem"]

NAME = "stamps"
TITLE = "Tux Paint stamps: photographs and drawings with captions"
LICENCE = "GPL-2.0-or-later (tuxpaint-stamps; media by many authors, see the file copyright)"
SIZE_MB = 81
HOW = "apt"

_PACKAGE = "tuxpaint-stamps-default"
_LEFT_OUT = ("symbols/alphabets/", "symbols/money/")
_FAMILIES = (
    ("symbols/chess/", "chess"),
    ("symbols/music/", "notes"),
    ("symbols/math/", "digits"),
    ("seasonal/hanukkah/dreydl", "dreidels"),
)


def fetch(say: Callable[[str], None]) -> Path:
    """Puts the stamps into the cache; does nothing if they are there.

    Raises:
        DeixisError: the package cannot be had; see `packages.debian_package`.
    """
    if sets.finished(NAME):
        return sets.home(NAME)
    cache_dir("sets").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir("sets"), prefix=".stamps-") as work:
        package = debian_package(_PACKAGE, Path(work), say)
        with sets.writing(NAME, licence=LICENCE, package=_PACKAGE, version=package.version) as (folder, told):
            share = package.folder / "usr/share"
            told["files"] = copy_files(share / "tuxpaint/stamps", folder / "stamps", (".png", ".txt"))
            notice = share / "doc" / _PACKAGE / "copyright"
            if notice.is_file():
                (folder / "copyright").write_bytes(notice.read_bytes())
    say(f"{NAME}: {told['files']} files in {sets.home(NAME)}")
    return sets.home(NAME)


def read() -> Source:
    """The stamps that are kept, in the order of their paths.

    Each sample's `extra` holds `photo` (bool), `animal` (a photograph of an animal), `folder`, and `family` (`chess`,
    `notes`, `digits`, `dreidels`, or empty).

    Raises:
        DeixisError: they have not been fetched.
    """
    root = sets.home(NAME) / "stamps"
    samples, skipped, out, mute = [], [], 0, 0
    for picture in sorted(root.rglob("*.png")):
        name = picture.relative_to(root).as_posix()
        words = picture.with_suffix(".txt")
        if name.startswith(_LEFT_OUT):
            out += 1
        elif not words.is_file():
            mute += 1
        elif caption := _caption(words):
            samples.append(_sample(name, picture, caption))
        else:
            skipped.append(Skipped(name, "empty caption"))
    notes = (
        f"{out} stamps of letters, hand signs and money are left out: their captions repeat",
        f"{mute} pictures without a text are left out",
    )
    return Source(NAME, root, "captions", "png with .txt beside", tuple(samples), tuple(skipped), notes)


@functools.cache
def photographs() -> frozenset[str]:
    """The ids of the stamps that count as photographs."""
    text = importlib.resources.files(__package__).joinpath("stamps_photos.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def family(name: str) -> str:
    """The family of symbols that a stamp belongs to, whose long captions resemble one another; or nothing."""
    return next((kind for start, kind in _FAMILIES if name.startswith(start)), "")


def stem(name: str) -> str:
    """Folder and file name without the numbers and single letters at its end, which tell variants apart:
    `animals/mammals/cats/lion-2.png` gives `animals/mammals/cats/lion`. Of a mere number, the folder is left."""
    path = PurePosixPath(name)
    return (path.parent / re.sub(r"(?:[-_](?:\d+|[a-z]))+$|\d+$", "", path.stem)).as_posix()


def _caption(words: Path) -> str:
    lines = words.read_text(encoding="utf-8", errors="replace").splitlines()
    return " ".join(lines[0].split()) if lines else ""


def _sample(name: str, picture: Path, caption: str) -> Sample:
    photo = name in photographs()
    extra = {
        "photo": photo,
        "animal": photo and name.startswith("animals/"),
        "folder": PurePosixPath(name).parent.as_posix(),
        "family": family(name),
    }
    groups = (f"noun:{head_noun(caption)}", f"stem:{stem(name)}", f"caption:{caption.casefold()}")
    return Sample(id=name, image=picture, captions=(caption,), groups=groups, extra=extra)
