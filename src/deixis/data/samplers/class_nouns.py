"""The noun of a class: what captions and casts of scenes call it."""

from __future__ import annotations

from deixis.inputs.phrases import singular

__all__ = ["class_noun"]

_ARTICLES = ("a", "an", "the", "some")


def class_noun(text: str) -> str:
    """The words of a class without article, in lower case, the last one in the singular.

    >>> class_noun("a Dog"), class_noun("traffic lights")
    ('dog', 'traffic light')
    """
    words = text.casefold().split()
    words = words[1:] if len(words) > 1 and words[0] in _ARTICLES else words
    return " ".join([*words[:-1], singular(words[-1])]) if words else ""
