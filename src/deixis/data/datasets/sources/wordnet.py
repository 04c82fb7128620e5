"""The nouns of WordNet 3.0, out of Debian's package `wordnet-base`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from deixis.data.datasets.sources.cache import finished, from_debian, home

__all__ = ["FILES", "LICENCE", "NAME", "SIZE_MB", "fetch_wordnet"]

NAME, LICENCE, SIZE_MB = "wordnet", "WordNet 3.0 (Princeton University)", 7
FILES = ("data.noun", "index.noun", "cntlist.rev")


def fetch_wordnet(say: Callable[[str], None]) -> Path:
    """Puts the files of the nouns into the cache; does nothing if they are there.

    Raises:
        DeixisError: the package can't be had; see `packages.debian_package`.
    """
    if not finished(NAME):
        with from_debian(NAME, "wordnet-base", LICENCE, say) as (share, folder, marker):
            for name in FILES:
                shutil.copyfile(share / "wordnet" / name, folder / name)
            marker["files"] = len(FILES)
    return home(NAME)
