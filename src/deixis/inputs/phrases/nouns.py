"""Small rules about English: the noun that a caption is about, and nouns without their plural ending."""

from __future__ import annotations

import re

__all__ = ["DETERMINERS", "PARTITIVES", "STOPS", "WORD", "ends_phrase", "head_noun", "singular"]

_ARTICLES = frozenset("a an the my your his her its our their this these those".split())
DETERMINERS = _ARTICLES | frozenset(
    "that some any no another each every both one two three four five six seven eight nine ten several many few".split()
)
PARTITIVES = frozenset(
    "pair couple bunch cluster head string piece slice quarter half plate bowl loaf set group pile row kind sort type "
    "picture photo photograph image drawing".split()
)
_MODALS = frozenset("can will could would shall should may might must".split())
STOPS = frozenset(
    "of in on at for from to by with without into onto over under inside near behind beside between through during "
    "about against around across along like as than and or but so that which who whose where when if because it you "
    "we they he she is are was were be been am isn't has have had do does did means lets takes carries carry pushes "
    "shows says gets resembles stands ahead".split()
)
_ACTIONS = frozenset(
    "making playing dancing eating riding holding wearing running doing using driving carrying reading drinking "
    "catching throwing pulling pushing chasing looking taking giving".split()
)
_ORDERS = frozenset("say eat enter see meet remember".split())
_NOT_PARTICIPLES = frozenset(
    "pudding crossing string ring king wing building painting drawing stocking ceiling clothing earring thing duckling "
    "bed seed weed shed sled".split()
)
_CLAUSE_END = re.compile(r"[.!?;:()\[\]…—–]|\s-\s")
WORD = re.compile(r"[^\W_]+(?:['’\-]+[^\W_]+)*")
_ENDS = (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("sses", "ss"), ("xes", "x"), ("oes", "o"))
_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot", "teeth": "tooth",
    "geese": "goose", "mice": "mouse", "leaves": "leaf", "knives": "knife", "wolves": "wolf", "loaves": "loaf",
    "shoes": "shoe", "toes": "toe", "pies": "pie", "ties": "tie",
}  # fmt: skip
_NO_SINGULAR = frozenset(
    "glasses sunglasses binoculars scissors pants jeans trousers shorts pliers tongs species series clothes news "
    "christmas lens canvas atlas mars".split()
)


def head_noun(caption: str) -> str:
    """The noun that a caption is about, lower-case and in the singular; empty if it has no word.

    It is the last word of the first noun phrase: leading articles, numbers and orders ("eat your bread") are dropped;
    the phrase ends before punctuation, a preposition, a conjunction, a verb, or a participle with something behind it;
    words of quantity are looked through ("a pair of red shoes" is about shoes). The rules are few and know no
    dictionary: a sentence without a plain noun phrase gives some word of it, the same one each time.

    >>> head_noun("A great blue heron.")
    'heron'
    """
    words = _without_determiners(_first_phrase(caption))
    at = next((index for index in range(1, len(words)) if ends_phrase(words, index)), len(words))
    if words[at : at + 1] == ["of"] and singular(words[at - 1]) in PARTITIVES and len(words) > at + 1:
        return head_noun(" ".join(words[at + 1 :]))
    return singular(words[at - 1]) if words else ""


def singular(noun: str) -> str:
    """An English noun without its plural ending, by rule; what has no singular stays ("glasses").

    >>> singular("cherries")
    'cherry'
    """
    word = re.sub(r"['’]s?$", "", noun.lower())
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _NO_SINGULAR or len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    for plural, single in _ENDS:
        if word.endswith(plural) and len(word) > len(plural) + 1:
            return word[: -len(plural)] + single
    return word[:-1]


def _first_phrase(caption: str) -> list[str]:
    """The words up to the first stop; a comma between adjectives ("a ripe, red tomato") is not one."""
    for clause in _CLAUSE_END.split(caption):
        parts = [words for part in clause.split(",") if (words := WORD.findall(part.lower()))]
        if not parts:
            continue
        phrase = parts[0]
        for part in parts[1:]:
            if len(phrase) != 2 or phrase[0] not in DETERMINERS or part[0] in STOPS | DETERMINERS:
                break
            phrase = [phrase[0], *part]
        return phrase
    return []


def _without_determiners(words: list[str]) -> list[str]:
    """Drops leading determiners and prepositions, and what stands before the first article of an order or a name
    ("flush the toilet", "George the groper"); the last word always stays."""
    if words and words[0] in _ORDERS:
        articles = [index for index, word in enumerate(words) if word in _ARTICLES]
        words = words[articles[0] if articles else min(1, len(words) - 1) :]
    elif len(words) > 2 and words[0] not in DETERMINERS and words[1] in _ARTICLES:
        words = words[1:]
    dropped = DETERMINERS | STOPS
    first = next((index for index, word in enumerate(words) if word not in dropped), len(words) - 1)
    return words[first:] if words else []


def ends_phrase(words: list[str], index: int) -> bool:
    """Whether the noun phrase ends before the word at `index`, which is not the first."""
    word, behind = words[index], words[index + 1 :]
    if word == "and" and index == 1 and len(behind) >= 2 and not set(behind[:2]) & (STOPS | DETERMINERS):
        return False  # "a blue and yellow flag"
    if word in STOPS | _ARTICLES | _ACTIONS or (word in _MODALS and behind):
        return True
    if not behind or word in _NOT_PARTICIPLES:
        return False
    participle = word.endswith(("ing", "ed")) or word in ("worn", "eaten", "made")
    return behind[0] in _ARTICLES or (participle and behind[0] in STOPS and behind[0] != "of")
