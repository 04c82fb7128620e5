"""Names of emoji in many languages, each beside the English one: text alone, out of the npm package `emojibase-data`.

`set:emoji-names/de` has a text for each emoji: its German name as caption, and the English one in the column
`english`. Two names are of one concept if the emoji are, as in `set:emoji`. Flags are left out, which are names of
countries, and so are letters of flags and loose parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from deixis.data.datasets.emoji import entries, fetch_words, groups
from deixis.data.datasets.sources.cache import finished, home, set_name, workshop, writing
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.types import Sample, Skipped, Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "fetch", "read"]

DATASET = DatasetCard(
    title="Names of emoji in 26 languages, with the English ones",
    licence="MIT (emojibase-data; names of Unicode CLDR, Unicode License v3)",
    how="npm",
    size_mb=7,
    fields=("captions",),
    parts=(
        *("bn", "da", "de", "es", "es-mx", "et", "fi", "fr", "hi", "hu", "it", "ja", "ko", "lt", "ms", "nb", "nl"),
        *("pl", "pt", "ru", "sv", "th", "uk", "vi", "zh", "zh-hant"),
    ),
)

_NAME = set_name(__name__)
_LEFT_OUT = ("component", "flags")


def fetch(say: Callable[[str], None]) -> Path:
    """Puts the names into the cache; does nothing if they are there.

    Raises:
        DeixisError: the package cannot be had; see `packages.npm_package`.
    """
    if not finished(_NAME):
        with workshop(_NAME) as work, writing(_NAME, licence=DATASET.licence) as (folder, marker):
            marker["packages"] = fetch_words(work, folder, say)
            (package,) = marker["packages"]
            for language in DATASET.parts:
                rows = json.loads((work / package / "package" / language / "data.json").read_text(encoding="utf-8"))
                write_json(folder / f"{language}.json", {row["hexcode"]: row["label"] for row in rows})
            marker["files"] = len(DATASET.parts)
        say(f"{_NAME}: {marker['files']} languages in {home(_NAME)}")
    return home(_NAME)


def read(part: str = "de") -> Source:
    """The emoji that have a name in a language, in the order of Unicode's charts.

    Args:
        part: the language, one of the card's parts.

    Raises:
        DeixisError: they have not been fetched, or the set is damaged.
    """
    root, samples, skipped = home(_NAME), [], []
    try:
        names = json.loads((root / f"{part}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DeixisError(f"The set {_NAME!r} in {root} is damaged: {error}.", "Remove it, fetch again.") from error
    for entry in entries(_NAME):
        name = " ".join(str(names.get(entry.hexcode, "")).split())
        if entry.group not in _LEFT_OUT and name:
            extra = {"english": (entry.label,)}
            samples.append(Sample(f"{part}/{entry.hexcode}", None, (name,), groups=groups(entry), extra=extra))
        elif entry.group not in _LEFT_OUT:
            skipped.append(Skipped(entry.hexcode, f"no name in {part}", entry.label))
    return Source(f"{_NAME}/{part}", root, "text", "names of emoji", tuple(samples), tuple(skipped))
