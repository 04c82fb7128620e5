"""The Art4Apps pictures of PySioGame: 585 drawings in one style, each named by a word, in twelve categories.

They come from the Debian package `pysiogame`, as `art4apps/CATEGORY/WORD.jpg`. The file name, in words, is the caption;
the folder is the label. Debian's notice calls all images of the game public domain, but the game itself credits these
to Art4Apps by Smart4Kids under CC-BY-SA (3.0 where others pack them): that is what holds here, and what `DATASET` says.

Two pictures are of one concept if their captions differ in number only (`shoe`, `shoes`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deixis.data.datasets.sources.cache import finished, from_debian, home, set_name
from deixis.data.datasets.sources.packages import copy_files
from deixis.inputs.phrases import singular
from deixis.types import Sample, Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "fetch", "read"]

DATASET = DatasetCard(
    title="Art4Apps: drawings named by a word, in twelve categories",
    licence="CC-BY-SA-3.0 (Art4Apps by Smart4Kids, www.art4apps.org, as packed with PySioGame)",
    how="apt",
    size_mb=16,
    fields=("captions", "labels"),
)

_NAME = set_name(__name__)

_PACKAGE = "pysiogame"


def fetch(say: Callable[[str], None]) -> Path:
    """Puts the pictures into the cache; does nothing if they are there.

    Raises:
        DeixisError: the package cannot be had; see `packages.debian_package`.
    """
    if not finished(_NAME):
        with from_debian(_NAME, _PACKAGE, DATASET.licence, say) as (share, folder, marker):
            pictures = share / "games" / _PACKAGE / "res/images/art4apps"
            marker["files"] = copy_files(pictures, folder / "pictures", (".jpg",))
    return home(_NAME)


def read() -> Source:
    """The pictures in the order of their paths, with caption and label (`animals`, `fruit n veg`...).

    Raises:
        DeixisError: they have not been fetched.
    """
    root = home(_NAME) / "pictures"
    samples = tuple(_sample(path.relative_to(root).as_posix(), path) for path in sorted(root.rglob("*.jpg")))
    return Source(_NAME, root, "captions", "folders of jpg named by a word", samples)


def _sample(name: str, picture: Path) -> Sample:
    words = picture.stem.replace("_", " ").split()
    concept = " ".join((*words[:-1], singular(words[-1])))
    label = picture.parent.name.replace("_", " ")
    return Sample(id=name, image=picture, captions=(" ".join(words),), label=label, groups=(f"concept:{concept}",))
