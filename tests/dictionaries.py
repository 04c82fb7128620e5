"""A dictionary in the cache, as if it had been fetched."""

from __future__ import annotations

import gzip
from collections.abc import Sequence

from deixis.apps.languages import look_up
from deixis.files import cache_dir, write_json

__all__ = ["write_german"]


def write_german(lines: Sequence[str]) -> None:
    """Puts entries, headword and senses between tabs, in the place of the German dictionary."""
    folder = cache_dir("sets", "tongues-de")
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / "entries.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
    write_json(folder / "set.json", {"name": "tongues-de"})
    look_up._entries.cache_clear()
