"""The emoji of people and hands in five skin tones, of the set `emoji`: drawings, in which no person is shown.

Their label is the subgroup of Unicode's charts (`hand-fingers-open`, `person-activity`); `extra` holds `tone` (light to
dark), `gender` (woman, man, or empty where the code points say neither) and `emoji`. Emoji of two tones are left out.
An emoji in all tones and genders is one concept.
"""

from __future__ import annotations

import re

from deixis.data.datasets import emoji
from deixis.data.datasets.sources.cache import home, set_name
from deixis.types import Sample, Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "TONES", "read"]

DATASET = DatasetCard(
    title="Emoji of people and hands in five skin tones, for measures by group",
    licence="MIT (Fluent emoji by Microsoft, packed by @lobehub/fluent-emoji-3d; labels: emojibase-data)",
    how="generated",
    fields=("labels",),
)

_NAME = set_name(__name__)
TONES = {"1F3FB": "light", "1F3FC": "medium-light", "1F3FD": "medium", "1F3FE": "medium-dark", "1F3FF": "dark"}
"""Code point -> tone, as Unicode calls them."""

_TONE = re.compile("-(" + "|".join(TONES) + r")(?=-|$)")
_WOMEN = frozenset(("2640", "1F467", "1F469", "1F475", "1F478", "1F470", "1F483", "1F930", "1F9D5"))
_MEN = frozenset(("2642", "1F466", "1F468", "1F474", "1F934", "1F935", "1F57A", "1F385", "1F472"))
_SIGNS = frozenset(("2640", "2642"))


def read() -> Source:
    """The emoji that have a picture in a tone, in the order of Unicode's charts, light ones first.

    Raises:
        DeixisError: the set `emoji` has not been fetched.
    """
    name, found = set_name(emoji.__name__), list[tuple[int, str, str, Sample]]()
    root = home(name)
    entries = {emoji.plain_code(entry.hexcode): (number, entry) for number, entry in enumerate(emoji.entries(name))}
    for path in (root / "pictures").rglob("*.webp"):
        code = emoji.plain_code(path.stem)
        tones = {*_TONE.findall(code)}
        place = entries.get(_TONE.sub("", code))
        if len(tones) == 1 and place is not None:
            number, entry = place
            tone = tones.pop()
            extra = {"tone": TONES[tone], "gender": _gender(code), "emoji": entry.emoji}
            groups, label = emoji.groups(entry), entry.subgroup
            sample = Sample(f"pictures/{path.name}", path, groups=groups, label=label, extra=extra)
            found.append((number, tone, path.name, sample))
    samples = tuple(sample for *_, sample in sorted(found, key=lambda each: each[:3]))
    return Source(_NAME, root, "labels", "webp named by code points", samples)


def _gender(code: str) -> str:
    """By the sign at the end where there is one, else by who is drawn."""
    points = set(code.split("-"))
    said = points & _SIGNS or points
    kinds = [name for name, those in (("woman", _WOMEN), ("man", _MEN)) if said & those]
    return kinds[0] if len(kinds) == 1 else ""
