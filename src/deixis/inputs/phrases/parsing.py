"""What a phrase says of the things that it names, by rule.

    the two red cars on the left      noun car, 2 of them, red, at the left
    the largest dog next to a bench   noun dog, 1, largest, near (noun bench)

The rules are few and know no dictionary. What they do not know stays in `NounPhrase.words`, the name of the thing with
what is said before it, for a model that reads words.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from deixis.errors import DeixisError
from deixis.inputs.phrases.nouns import DETERMINERS, PARTITIVES, STOPS, WORD, ends_phrase, singular

__all__ = ["NounPhrase", "noun_phrases", "noun_phrases_of", "parse_phrase"]

_COLOURS: Mapping[str, str] = {
    **{name: name for name in "black white grey red orange yellow green blue purple pink brown".split()},
    **{"gray": "grey", "silver": "grey", "golden": "yellow", "violet": "purple", "tan": "brown", "blond": "yellow"},
}

_SIZES = {
    **dict.fromkeys("small little tiny".split(), "small"),
    **dict.fromkeys("large big huge".split(), "large"),
    **dict.fromkeys("medium medium-sized".split(), "medium"),
}
_EXTREMES = {
    **dict.fromkeys("leftmost rightmost topmost lowest largest smallest tallest widest".split()),
    **{"highest": "topmost", "uppermost": "topmost", "bottommost": "lowest", "biggest": "largest"},
    **{"tiniest": "smallest", "littlest": "smallest", "closest": "lowest", "nearest": "lowest"},
}
_SIDES = {
    **dict.fromkeys(("left", "right", "top", "bottom", "middle")),
    **{"upper": "top", "lower": "bottom", "center": "middle", "centre": "middle", "central": "middle"},
}
_NUMBERS = {
    word: number
    for number, word in enumerate("one two three four five six seven eight nine ten eleven twelve".split(), start=1)
} | {"both": 2, "an": 1, "a": 1, "another": 1, "each": 0, "every": 0, "all": 0, "some": 0, "many": 0, "several": 0}
_NO_NOUNS = frozenset("one ones it them this that these those".split())
_BEFORE = re.compile(
    r"(?:(?:please|find|show|locate|mark|select|point|to|at|me|where|is|are|there|out|detect|give)\s+)+", re.I
)
_SIDE = r"(?:upper|lower|top|bottom|middle|cent(?:er|re)|left|right)"
_PLACE = re.compile(
    rf"\s*(?:(?:which|that|who)\s+(?:is|are)\s+)?(?:(?:on|at|in|to|towards?|near)\s+)?(?:the\s+)?(?:far\s+|very\s+)?"
    rf"({_SIDE}(?:[\s-]+{_SIDE})*)(?:[\s-]*(?:hand|side|corner|half|edge|part))*\b"
    r"(?:\s+of\s+(?:the\s+)?(?:picture|image|photo|photograph|scene)\b|(?!\s+of\b))",
    re.I,
)
_RELATIONS = tuple(
    (name, re.compile(rf"\s*(?:(?:which|that|who)\s+)?(?:(?:is|are|standing|sitting|lying)\s+)?(?:{words})\s+", re.I))
    for name, words in (
        ("left", r"(?:(?:to|on|at)\s+)?(?:the\s+)?left(?:\s+side)?\s+of"),
        ("right", r"(?:(?:to|on|at)\s+)?(?:the\s+)?right(?:\s+side)?\s+of"),
        ("above", r"on\s+top\s+of|above|over|higher(?:\s+up)?\s+than"),
        ("below", r"below|under(?:neath)?|beneath|lower(?:\s+down)?\s+than"),
        ("front", r"in\s+front\s+of|before"),
        ("behind", r"(?:in\s+)?(?:the\s+)?back\s+of|behind"),
        ("near", r"next\s+to|close\s+to|near(?:by)?|beside|besides|by|alongside"),
        ("on", r"on|upon|riding(?:\s+on)?"),
        ("with", r"in|inside|with|holding|wearing|having|carrying"),
    )
)
_BREAK = re.compile(r"\s*(?:[.;:!?\n]|,\s*(?:and\b|&)?|\b(?:and|or|plus)\b|&)\s*", re.I)
_LONGEST, _MOST, _DEEPEST = 2000, 64, 3


@dataclasses.dataclass(frozen=True)
class NounPhrase:
    """What a phrase says of the things that it names.

    Attributes:
        text: as it stands.
        start: its first character in the text that it is part of.
        noun: what is named, lower-case and in the singular.
        words: the noun and what belongs to it, but no colour, size, side or superlative: `police car`, `ball of yarn`.
        count: how many are meant; 0: all there are.
        colours: of the eleven basic ones.
        size: `small`, `medium` or `large` among its kind, or empty.
        sides: where it is: `left`, `right`, `top`, `bottom`, `middle`.
        extreme: what it is most of all of its kind, such as `leftmost` or `largest`, or empty.
        relation: how it lies to the anchor, such as `left`, `above` or `near`, or empty.
        anchor: what it is related to.
    """

    text: str
    start: int
    noun: str
    words: str
    count: int = 1
    colours: tuple[str, ...] = ()
    size: str = ""
    sides: tuple[str, ...] = ()
    extreme: str = ""
    relation: str = ""
    anchor: NounPhrase | None = None

    @property
    def stop(self) -> int:
        """The character behind its last."""
        return self.start + len(self.text)

    @property
    def is_plain(self) -> bool:
        """Whether it says nothing but what is named."""
        return not (self.colours or self.size or self.sides or self.extreme or self.relation)


def noun_phrases(text: str) -> tuple[NounPhrase, ...]:
    """The things that a text names, in order, each with what is said of it.

    Raises:
        DeixisError: the text has no words, no noun, or too many.

    >>> [(each.text, each.noun, each.count) for each in noun_phrases("a cat and two dogs")]
    [('a cat', 'cat', 1), ('two dogs', 'dog', 2)]
    """
    if len(text) > _LONGEST:
        raise DeixisError(f"The text has {len(text)} characters.", f"Give phrases of {_LONGEST} at the most.")
    found = [parse_phrase(text[start:stop], start) for start, stop in _pieces(text)]
    if not found:
        raise DeixisError(f"{text!r} has no words.", 'Say what is to be located, such as "a dog".')
    if len(found) > _MOST:
        raise DeixisError(f"The text names {len(found)} things.", f"Ask for {_MOST} at a time at the most.")
    return tuple(found)


def noun_phrases_of(texts: Sequence[str]) -> list[tuple[NounPhrase, ...]]:
    """The things that each of several texts names.

    Raises:
        DeixisError: there is no text, an empty one, or one that names nothing.
    """
    if not texts or not all(each.strip() for each in texts):
        raise DeixisError("There is no text, or an empty one.", "Give at least one, in words.")
    return [noun_phrases(each) for each in texts]


def parse_phrase(text: str, start: int = 0) -> NounPhrase:
    """One phrase, whatever conjunctions it has.

    Args:
        text: the phrase.
        start: its first character in a longer text.

    Raises:
        DeixisError: it names nothing: "the left one".

    >>> each = parse_phrase("the small red car left of the tallest tree")
    >>> each.noun, each.size, each.colours, each.relation, each.anchor.extreme
    ('car', 'small', ('red',), 'left', 'tallest')
    """
    return _parsed(text, start, 0)


def _pieces(text: str) -> list[tuple[int, int]]:
    """Of the phrases: cut at signs and conjunctions, but not between two adjectives."""
    cuts, start = [], 0
    for found in _BREAK.finditer(text):
        words = [word.lower() for word in WORD.findall(text[start : found.start()])]
        behind = [word.lower() for word in WORD.findall(text[found.end() :])[:1]]
        adjectives = bool(words) and words[-1] in {**_COLOURS, **_SIZES} and bool(behind)
        if words and not (adjectives and behind[0] not in _NUMBERS and behind[0] not in DETERMINERS):
            cuts.append((start, found.start()))
            start = found.end()
        elif not words:
            start = found.end()
    cuts.append((start, len(text)))
    return [trimmed for each in cuts if (trimmed := _trimmed(text, *each))]


def _trimmed(text: str, start: int, stop: int) -> tuple[int, int] | None:
    """Without orders before it and signs around it; None where there is no word."""
    order = _BEFORE.match(text, start, stop)
    begin = order.end() if order and WORD.search(text, order.end(), stop) else start
    places = [found.span() for found in WORD.finditer(text, begin, stop)]
    return (places[0][0], places[-1][1]) if places else None


def _parsed(text: str, start: int, depth: int) -> NounPhrase:
    words = [(found.group().lower(), found.start(), found.end()) for found in WORD.finditer(text)]
    plain = [word for word, _, _ in words]
    first = next(
        (
            at
            for at, word in enumerate(plain)
            if word not in DETERMINERS and word not in _NUMBERS and not word.isdecimal()
        ),
        len(plain),
    )
    end = next((at for at in range(first + 1, len(plain)) if _ends_name(text, words, at)), len(plain))
    named = [word for word in plain[first:end] if not _says(word) and word not in ("and", "or")]
    if end < len(plain) and plain[end] == "of" and named and singular(named[-1]) in PARTITIVES and depth < _DEEPEST:
        inner = _parsed(text[words[end][2] :], start + words[end][2], depth + 1)
        pair = 2 if singular(named[-1]) in ("pair", "couple") else inner.count
        return dataclasses.replace(inner, text=text, start=start, count=pair)
    if not named and end > first and plain[end - 1] in _COLOURS:  # "an orange"
        named, end_colours = [plain[end - 1]], plain[first : end - 1]
    else:
        end_colours = plain[first:end]
    if not named or named[-1] in _NO_NOUNS or all(word in STOPS for word in named):
        raise DeixisError(
            f"{text.strip()!r} names no thing.", 'Say which kind of thing is meant, such as "the left car".'
        )
    noun = singular(named[-1])
    made_of = plain[end : end + 2] if plain[end : end + 1] == ["of"] else []  # "a ball of yarn"
    said = _said(end_colours)
    behind = _behind(text, words[end - 1][2], start, depth)
    return NounPhrase(
        text,
        start,
        noun,
        " ".join([*named[:-1], noun, *made_of]),
        _count(plain[:first], named[-1]),
        (*said.colours, *behind.colours),
        said.size,
        tuple(dict.fromkeys((*said.sides, *behind.sides))),
        said.extreme,
        behind.relation,
        behind.anchor,
    )


def _says(word: str) -> bool:
    return word in _COLOURS or word in _SIZES or word in _EXTREMES or word in _SIDES


def _ends_name(text: str, words: list[tuple[str, int, int]], at: int) -> bool:
    """Whether the name of the thing ends before a word: at a preposition, a verb, or a side with "of" behind it."""
    plain = [word for word, _, _ in words]
    if plain[at] in ("and", "or") and plain[at - 1] in _COLOURS:
        return False
    if plain[at] in _SIDES and plain[at + 1 : at + 2] == ["of"]:
        return True
    if any(pattern.match(text, words[at][1]) for name, pattern in _RELATIONS if name != "with"):
        return True
    return ends_phrase(plain, at)


def _count(before: list[str], last: str) -> int:
    """How many are meant, by the words before the name and by its ending."""
    for word in before:
        if word.isdecimal():
            return int(word)
    numbers = [_NUMBERS[word] for word in before if word in _NUMBERS]
    several = singular(last) != last
    if several:
        return max((each for each in numbers if each > 1), default=0)
    return 0 if numbers == [0] else max([1, *numbers])


@dataclasses.dataclass
class _Said:
    colours: tuple[str, ...] = ()
    size: str = ""
    sides: tuple[str, ...] = ()
    extreme: str = ""
    relation: str = ""
    anchor: NounPhrase | None = None


def _said(words: list[str]) -> _Said:
    """What adjectives say."""
    colours = dict.fromkeys(_COLOURS[word] for word in words if word in _COLOURS)
    sides = dict.fromkeys(_SIDES[word] or word for word in words if word in _SIDES)
    size = next((_SIZES[word] for word in words if word in _SIZES), "")
    extreme = next((_EXTREMES[word] or word for word in words if word in _EXTREMES), "")
    return _Said(tuple(colours), size, tuple(sides), extreme)


def _behind(text: str, at: int, start: int, depth: int) -> _Said:
    """What stands behind the name: places, colours, and one relation, which ends the phrase."""
    said = _Said()
    while at < len(text):
        place = _PLACE.match(text, at)
        if place:
            words = [word.lower() for word in WORD.findall(place.group(1))]
            said.sides = tuple(dict.fromkeys((*said.sides, *(_SIDES[word] or word for word in words))))
            at = place.end()
            continue
        name, found = next(
            ((name, found) for name, pattern in _RELATIONS if (found := pattern.match(text, at))), ("", None)
        )
        rest = WORD.findall(text[found.end() :]) if found else []
        if rest and rest[-1].lower() in _COLOURS and len(rest) == 1:  # "the woman in red"
            said.colours = (_COLOURS[rest[0].lower()],)
            break
        if rest and found and depth < _DEEPEST:
            said.relation, said.anchor = name, _parsed(text[found.end() :], start + found.end(), depth + 1)
            break
        word = WORD.search(text, at)
        if word is None:
            break
        at = word.end()
    return said
