"""What an Open Clip Art drawing shows, in English, from its title, its tags and the folder it lies in.

Titles are of many hands: some name a collection and not the picture ("AIGA_Symbol_Signs"), the author, or a thing in
Italian or French; others carry numbers and file suffixes. The rules here are few and know no dictionary; what they
cannot turn into words gets none, and is left out.
"""

from __future__ import annotations

import html
import re
from typing import NamedTuple

import ftfy

__all__ = ["DrawingFacts", "describe", "name", "of_a_place"]


class DrawingFacts(NamedTuple):
    """What is written in a drawing.

    Attributes:
        path: where it lies, such as `animals/birds/crow_01`; without suffix.
        title: as its author wrote it.
        tags: words for it.
        author: who drew it.
    """

    path: str
    title: str
    tags: tuple[str, ...]
    author: str


_COLLECTIONS = re.compile(
    r"|AIGA_Symbol_Signs|Various Cliparts|(?:SVG )?Road Signs|R16 sibmission|Australian Maps|Map Symbols|Homes Clipart"
    r"|Etiquette Icons|Boating Rules Illustration|advertising|people|Clipart by Nicu Buculei - .*|Part of the .*"
    r"|.*(?:@|www\.|HASH\(|\.py).*",
    re.IGNORECASE,
)
_FOREIGN = re.compile(r"rollandin|guillou|tanguy jacq", re.IGNORECASE)  # Italian and French titles
_JUNK_TAG = re.compile(
    r"hash.*|0x.*|unsorted|openclipart|clip ?art|icons?|images?|shapes?|symbols?|.*[@_\d].*|.*rollandin"
)
_WIDE_TAGS = frozenset(
    "animal animals plant food menu office recreation festive holiday tool tools work transport transportation sign "
    "symbol people education entertainment equipment decoration europe asia africa america oceania geography".split()
)
_KINDS = {
    "animals/birds": "a bird",
    "animals/birds/penguin": "a penguin",
    "animals/bugs": "a bug",
    "animals/dinosaurs": "a dinosaur",
    "animals/mammals": "an animal",
    "animals/mammals/bears": "a bear",
    "animals/mammals/big_cats": "a big cat",
    "animals/mammals/dogs": "a dog",
    "animals/mammals/horses": "a horse",
    "animals/mammals/housecats": "a cat",
    "buildings/homes": "a house",
    "education/books": "a book",
    "electronics/battery": "a battery",
    "electronics/bulb": "a light bulb",
    "office/telephone": "a telephone",
    "people/clothing/hats": "a hat",
    "people/smilies": "a smiley",
    "people/stickmen": "a stick figure",
    "plants/flowers": "a flower",
    "plants/trees": "a tree",
    "signs_and_symbols/clocks": "a clock",
    "signs_and_symbols/hazard": "a warning sign",
    "signs_and_symbols/map_symbols": "a map symbol",
    "transportation/roadsigns": "a road sign",
    "transportation/vehicles/hummers": "an off-road car",
}
_BLACK_AND_WHITE = re.compile(r"\(?\bb\s*(?:and|&|_|/|n)?\s*w\b\)?", re.IGNORECASE)
_NOISE = (
    (re.compile(r"^Clipart by [^-]*- "), ""),
    (re.compile(r"^(?:aiga|svg|\d\d)[_ ]|^carte d(?:e|u|es) (?:la )?", re.IGNORECASE), ""),
    (re.compile(r"[_ -](?:RPG map elements?|body part|clothing|md|aj)\b|_\d+_symbol_.*$|\|.*$|[_-]v\d.*$"), ""),
    (re.compile(r"\.svg\b|[ _-]?(?:open ?)?clip ?art\b|\(?\bby [A-Z]\w+.*$", re.IGNORECASE), " "),
    (re.compile(r"(?<=[A-Za-z][a-z]{2})(?=[A-Z][a-z])"), " "),
    (re.compile(r"[_#]+"), " "),
    (re.compile(r"(?i)\bglace\b"), "ice cream"),
    (re.compile(r"(?i)\bbaloon"), "balloon"),
    (re.compile(r"\s*\(([^()]*)\)"), r", \1"),
)
_LOOKS = re.compile(r"[ -]+(outline|black|shaded|coastline)$", re.IGNORECASE)
_NUMBERS = re.compile(r"\b0\d[a-z]?\b|(?:\s+(?:\d+|[IVX]+)|(?:(?<=[a-z]{2})|(?<=[A-Z]{3}))(?<!\bmp)\d+)(?=$|,)")


def name(facts: DrawingFacts) -> str:
    """The thing shown, as in `crow` or `ice cream cone, 1 scoop`; empty if the drawing does not tell in English."""
    if _FOREIGN.search(facts.author):
        return ""
    flag, proper = _is_flag(facts), of_a_place(facts)
    title = ftfy.fix_text(html.unescape(html.unescape(facts.title))).strip()
    if _COLLECTIONS.fullmatch(title):
        author = {word for word in facts.author.casefold().split() if word.isalpha()}
        title = "_".join(word for word in re.split(r"[ _-]", facts.path.rsplit("/", 1)[-1]) if word not in author)
    words = "" if title.casefold() == facts.author.casefold() else _tidy(title)
    words = words if flag else _NUMBERS.sub("", _NUMBERS.sub("", words)).strip()  # two, as in `balloon1 04`
    if not re.search(r"[^\W\d_]{3}", words) or not (words.isascii() or proper):
        return _from_tags(facts)
    parts = re.split(r" -\s?|- ", words)
    words = ", ".join(reversed(parts) if flag else parts)
    return " ".join((_capitals(words) if proper else words.replace("-", " ").lower()).split())


def describe(facts: DrawingFacts) -> str:
    """A caption, as in `crow, a bird` or `flag of Niger`; empty if nothing is known."""
    thing = name(facts)
    if thing and _is_flag(facts):
        return thing if re.search(r"(?i)flag|banner|ensign|pennant|jack", thing) else f"flag of {thing}"
    if thing and _is_map(facts):
        place, _, look = _LOOKS.sub(r"|\1", thing).partition("|")
        keywords = re.search(r"(?i)map|globe|earth|hemisphere", thing)
        return thing if keywords else f"map of {place}" + (look and f", {look.lower()}")
    kind = _KINDS.get(facts.path.rsplit("/", 1)[0], "")
    kind = next((f"a {kind}" for kind in ("road sign", "map symbol") if kind in facts.title.lower()), kind)
    if not kind or kind.split()[-1] in thing or re.search("symbol|icon|logo", thing):
        return thing
    what, *looks = thing.split(", ", 1)
    return ", ".join((what, kind, *looks)) if thing else kind


def of_a_place(facts: DrawingFacts) -> bool:
    """Whether it is a flag or a map, where the name is that of a place."""
    return _is_flag(facts) or _is_map(facts)


def _is_flag(facts: DrawingFacts) -> bool:
    return facts.path.startswith("signs_and_symbols/flags/")


def _is_map(facts: DrawingFacts) -> bool:
    return facts.path.startswith("geography/") and "map" in facts.tags


def _tidy(title: str) -> str:
    words = _BLACK_AND_WHITE.sub(" ", re.sub("_bwh?$", " b and w ", title))
    grey = words != title
    for pattern, instead in _NOISE:
        words = pattern.sub(instead, words).strip(" ,.-_")
    return " ".join(words.split()) + (", black and white" if grey and words else "")


def _from_tags(facts: DrawingFacts) -> str:
    folders = set(facts.path.split("/"))
    tags = (tag.strip().lower() for tag in facts.tags)
    keywords = (tag for tag in tags if tag and tag not in _WIDE_TAGS | folders and not _JUNK_TAG.fullmatch(tag))
    return ", ".join(list(dict.fromkeys(keywords))[:2])


def _capitals(words: str) -> str:
    return words if words != words.lower() else re.sub(r"\b(?!of\b|the\b|and\b)[a-z]", lambda m: m[0].upper(), words)
