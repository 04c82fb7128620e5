"""Which images must not be mirrored: those whose texts name a side, and those that show text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import regex

from deixis.types.samples import Sample, Source

__all__ = ["may_mirror", "mirror_notes", "names_side"]

_WORDS = (
    "left|right|leftmost|rightmost|leftward|leftwards|rightward|rightwards|clockwise|counterclockwise|anticlockwise",
    "links|rechts|linke[mnrs]?|rechte[mnrs]?",  # German
    "gauche|droite",  # French
    "izquierd[ao]|derech[ao]",  # Spanish
    "sinistr[ao]|destr[ao]",  # Italian
    "esquerd[ao]|direit[ao]",  # Portuguese
    "linker|rechter",  # Dutch
)
_SIDE = regex.compile(rf"\b(?:{'|'.join(_WORDS)})\b|[左右]", regex.IGNORECASE)


def names_side(texts: Iterable[str]) -> bool:
    """Whether one of the texts names a side. A word that also means something else (a right answer) counts as one: not
    to mirror a picture costs little.

    >>> names_side(["a red bird", "the boat on the left"]), names_side(["a bright leftover"])
    (True, False)
    """
    return any(_SIDE.search(text) for text in texts)


def may_mirror(source: Source, sample: Sample) -> bool:
    """Whether an image says the same when it is mirrored: neither the sample's texts nor those of its regions name a
    side, and the images of the source show no text."""
    return not source.shows_text and not names_side(_texts(sample))


def mirror_notes(source: Source) -> tuple[str, ...]:
    """What a user should know of images that are never mirrored."""
    if source.shows_text:
        return (f"No image is mirrored: those of {source.name!r} show text.",)
    sided = sum(not may_mirror(source, sample) for sample in source.samples)
    note = f"{sided} of {len(source.samples)} samples are never mirrored: their texts name a side (left, right)."
    return (note,) if sided else ()


def _texts(sample: Sample) -> Iterator[str]:
    yield from sample.captions
    yield sample.label or ""
    for region in sample.regions:
        yield from (region.category, *(phrase.text for phrase in region.phrases))
    for question in sample.questions:
        yield from (question.question, question.answer)
