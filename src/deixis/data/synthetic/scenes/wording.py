"""English for things that are counted and described: articles, plurals, adjectives in their order."""

from __future__ import annotations

import re

__all__ = ["NUMBERS", "article", "describe", "plural", "size_word", "spoken_list"]

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")

_SAME = frozenset(
    "bison caribou deer fish moose sheep shrimp squid swine trout wapiti zebu aircraft spacecraft binoculars".split()
)
_IRREGULAR = {
    "man": "men", "mouse": "mice", "louse": "lice", "goose": "geese", "foot": "feet", "tooth": "teeth",
    "child": "children", "ox": "oxen", "knife": "knives", "leaf": "leaves", "loaf": "loaves", "scarf": "scarves",
    "wolf": "wolves", "shelf": "shelves", "person": "people",
}  # fmt: skip
_SPOKEN_WITH_A = re.compile(r"(?:uni[^nm]|uk|us[aeu]|ut[aeio]|eu|ewe|one\b)")
_SPOKEN_WITH_AN = re.compile(r"(?:hour|honest|heir|herb\b)")


def article(words: str) -> str:
    """`a` or `an`, as the words that follow are spoken.

    >>> article("orange kettle"), article("unicorn"), article("hourglass")
    ('an', 'a', 'an')
    """
    word = words.casefold()
    vowel = word[:1] in ("a", "e", "i", "o", "u") and not _SPOKEN_WITH_A.match(word)
    return "an" if vowel or _SPOKEN_WITH_AN.match(word) else "a"


def plural(noun: str) -> str:
    """The plural of a noun, of the last word where there are several.

    >>> plural("fireman"), plural("strawberry"), plural("clownfish"), plural("paintbrush")
    ('firemen', 'strawberries', 'clownfish', 'paintbrushes')
    """
    first, space, word = noun.rpartition(" ")
    if word in _SAME or word.endswith(("fish", "sheep", "deer", "fowl", "craft")):
        return noun
    for ending, many in _IRREGULAR.items():
        if word.endswith(ending) and (word == ending or ending in ("man", "louse", "tooth", "child")):
            return first + space + word.removesuffix(ending) + many
    if re.search(r"[^aeiou]y$", word):
        return noun[:-1] + "ies"
    if word.endswith(("s", "x", "z", "ch", "sh")) or word in ("potato", "tomato", "mango", "mosquito", "echo", "hero"):
        return noun + "es"
    return noun + "s"


def size_word(size: str) -> str:
    """A size as an adjective."""
    return "medium-sized" if size == "medium" else size


def describe(noun: str, colour: str = "", size: str = "", count: int = 0) -> str:
    """A noun with its adjectives, in the plural for a count above 1, without article or number.

    >>> describe("bird", "red", "medium", 2)
    'medium-sized red birds'
    """
    words = (size_word(size) if size else "", colour, plural(noun) if count > 1 else noun)
    return " ".join(filter(None, words))


def spoken_list(parts: list[str]) -> list[str]:
    """What stands before each of `parts` in a list: nothing, commas, `and`.

    >>> spoken_list(["a", "b", "c"])
    ['', ', ', ' and ']
    """
    return ["" if i == 0 else " and " if i == len(parts) - 1 else ", " for i in range(len(parts))]
