"""The files of the fonts that scene text is drawn with, by family, as the set `fonts` holds them."""

from __future__ import annotations

from pathlib import Path

from deixis.data.datasets.sources.cache import home

__all__ = ["FAMILIES", "SUFFIXES", "faces"]

FAMILIES = (
    *("cabin", "comic-neue", "courier-prime", "dancingscript", "inconsolata", "kristi", "league-spartan", "lobster"),
    *("quattrocento", "quicksand", "yanone-kaffeesatz"),
)
SUFFIXES = (".otf", ".ttf")
_FINE = ("thin", "light", "hairline")

_SET = "fonts"


def faces() -> dict[str, tuple[Path, ...]]:
    """The files of each family, in the order of their names.

    Raises:
        DeixisError: they have not been fetched.
    """
    root, found = home(_SET), {}
    for family in FAMILIES:
        files = sorted(path for path in (root / family).rglob("*") if path.suffix in SUFFIXES)
        found[family] = tuple(path for path in files if not any(cut in path.stem.casefold() for cut in _FINE))
    return {family: files for family, files in found.items() if files}
