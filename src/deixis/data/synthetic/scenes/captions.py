"""Captions: a short one that knows where it speaks of each thing, and a long one of several sentences."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from deixis.data.synthetic.scenes.backgrounds import words_for
from deixis.data.synthetic.scenes.config import SIZES
from deixis.data.synthetic.scenes.expressions import RELATIONS, GroundTruth, position
from deixis.data.synthetic.scenes.layout import ThingFacts
from deixis.data.synthetic.scenes.wording import NUMBERS, article, describe, plural, size_word, spoken_list

__all__ = ["Text", "long_caption", "noisy", "short_caption", "swapped"]

_FRAMES = (("", "."), ("A picture of ", "."), ("An image with ", "."), ("A scene that shows ", "."))
_FRAME_WEIGHTS = (0.4, 0.3, 0.2, 0.1)
_WHERE = {"centre": "in the middle"}


class Text:
    """Words that are put together, with the stretches that speak of things."""

    def __init__(self) -> None:
        self.text = ""
        self.spans: dict[int, list[tuple[int, int]]] = collections.defaultdict(list)

    def add(self, words: str, *things: int) -> Text:
        """Appends words; `things` are the numbers of those that they speak of."""
        for thing in things:
            self.spans[thing].append((len(self.text), len(self.text) + len(words)))
        self.text += words
        return self

    def sentence(self) -> Text:
        """The first letter made a capital."""
        self.text = self.text[:1].upper() + self.text[1:]
        return self


def short_caption(rng: np.random.Generator, truth: GroundTruth, background: str, named: int) -> Text:
    """A sentence such as `Two red birds and a small dog on a plain blue background`.

    All things of a noun are named or none, so that the numbers are true.

    Args:
        rng: draws how it is put.
        truth: all things.
        background: its name.
        named: the most nouns that are named.
    """
    groups = _by_noun(truth.facts)
    nouns = [list(groups)[i] for i in rng.permutation(len(groups))[: max(1, min(named, len(groups)))]]
    before, after = _FRAMES[int(rng.choice(len(_FRAMES), p=_FRAME_WEIGHTS))]
    text = Text().add(before)
    mentions: list[tuple[str, list[int]]] = []
    colours, sizes = bool(rng.random() < 0.8), bool(rng.random() < 0.4)
    for noun in nouns:
        mentions += _mentions(rng, truth.facts, groups[noun], colours, sizes)
    glued = _related(rng, truth, mentions) or spoken_list([words for words, _ in mentions])
    for glue, (words, things) in zip(glued, mentions, strict=True):
        text.add(glue).add(words, *things)
    if rng.random() < 0.5:
        ways = words_for(background)
        text.add(f" on {ways[int(rng.integers(len(ways)))]}")
    return text.add(after).sentence()


def _by_noun(facts: Sequence[ThingFacts]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = collections.defaultdict(list)
    for number, fact in enumerate(facts):
        groups[fact.noun].append(number)
    return groups


def _mentions(
    rng: np.random.Generator, facts: Sequence[ThingFacts], things: list[int], colours: bool, sizes: bool
) -> list[tuple[str, list[int]]]:
    """One noun's things, in words: those that look alike are counted together."""
    distinct = rng.random() < 0.6 or len(things) == 1
    alike: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
    for thing in things:
        look = (facts[thing].colour if colours else "", facts[thing].size if sizes else "")
        alike[look if distinct else ("", "")].append(thing)
    return [(_counted(facts[group[0]].noun, *look, len(group)), group) for look, group in alike.items()]


def _counted(noun: str, colour: str, size: str, count: int) -> str:
    words = describe(noun, colour, size, count)
    return f"{article(words) if count == 1 else NUMBERS[count]} {words}"


def _related(rng: np.random.Generator, truth: GroundTruth, mentions: Sequence[tuple[str, list[int]]]) -> list[str]:
    """Between two single things, sometimes, how they lie to one another instead of `and`."""
    if len(mentions) != 2 or any(len(things) != 1 for _, things in mentions) or rng.random() < 0.5:
        return []
    [[one], [other]] = (things for _, things in mentions)
    true = [spoken[0] for name, spoken in RELATIONS.items() if truth.holds[name, one, other]]
    return ["", f" {true[0]} "] if true else []


def long_caption(
    rng: np.random.Generator, truth: GroundTruth, background: str, invented: float, absent: Sequence[str]
) -> list[dict[str, Any]]:
    """Sentences, each with the numbers of the things that it names (`regions`) and whether it is `true`.

    Args:
        rng: draws how it is put.
        truth: all things; of those without a class of size none is spoken of.
        background: its name; empty where it has none.
        invented: how likely each sentence is followed by one about a thing that is not there.
        absent: nouns of things that are not there.
    """
    count = len(truth.facts)
    sentences = [_overview(truth.facts)]
    sentences += [_single(truth.facts, number) for number in rng.permutation(count).tolist()]
    sentences += _two_relations(rng, truth)
    if background:
        sentences.append(_sentence(f"{'They are' if count > 1 else 'It is'} on {words_for(background)[0]}."))
    caption = []
    for sentence in sentences:
        caption.append(sentence)
        if absent and rng.random() < invented:
            caption.append(_invention(rng, absent))
    return caption


def _sentence(text: str, *regions: int, true: bool = True) -> dict[str, Any]:
    return {"text": text, "regions": tuple(regions), "true": true}


def _overview(facts: Sequence[ThingFacts]) -> dict[str, Any]:
    groups = [(_counted(noun, "", "", len(things)), len(things)) for noun, things in _by_noun(facts).items()]
    words = [group for group, _ in groups]
    listed = "".join(glue + each for glue, each in zip(spoken_list(words), words, strict=True))
    return _sentence(f"There {'are' if groups[0][1] > 1 else 'is'} {listed}.", *range(len(facts)))


def _single(facts: Sequence[ThingFacts], number: int) -> dict[str, Any]:
    fact, where = facts[number], position(facts[number])
    place = _WHERE.get(where, f"on the {where}" if where in ("left", "right") else f"at the {where}")
    if sum(other.noun == fact.noun for other in facts) > 1:
        adjectives = " and ".join(filter(None, (size_word(fact.size) if fact.size else "", fact.colour)))
        return _sentence(f"One of the {plural(fact.noun)} is {', '.join(filter(None, (adjectives, place)))}.", number)
    return _sentence(f"The {describe(fact.noun, fact.colour, fact.size)} is {place}.", number)


def _two_relations(rng: np.random.Generator, truth: GroundTruth) -> list[dict[str, Any]]:
    true, sentences = truth.true_relations(), []
    for i in rng.permutation(len(true))[:2].tolist():
        name, one, other = true[i]
        spoken = RELATIONS[name][int(rng.integers(2))]
        words = f"The {truth.names[one][0].words} is {spoken} the {truth.names[other][0].words}."
        sentences.append(_sentence(words, one, other))
    return sentences


def _invention(rng: np.random.Generator, absent: Sequence[str]) -> dict[str, Any]:
    noun, size = absent[int(rng.integers(len(absent)))], tuple(SIZES)[int(rng.integers(len(SIZES)))]
    where = ("on the left", "on the right", "at the top", "at the bottom")[int(rng.integers(4))]
    words = describe(noun, size=size)
    return _sentence(f"There is {article(words)} {words} {where}.", true=False)


def swapped(rng: np.random.Generator, text: Text, facts: Sequence[ThingFacts]) -> str:
    """The caption with the colours of two nouns exchanged, which makes it wrong; empty where it names no two colours.

    Args:
        rng: draws which.
        text: the caption.
        facts: of all things.
    """
    coloured = {
        spans[0]: facts[thing]
        for thing, spans in text.spans.items()
        if facts[thing].colour and f" {facts[thing].colour} " in text.text[slice(*spans[0])]
    }
    pairs = [
        (one, other)
        for one, first in coloured.items()
        for other, second in coloured.items()
        if one < other and first.noun != second.noun and first.colour != second.colour
    ]
    if not pairs:
        return ""
    one, other = pairs[int(rng.integers(len(pairs)))]
    words = text.text
    for span, old, new in ((other, coloured[other], coloured[one]), (one, coloured[one], coloured[other])):
        phrase = words[slice(*span)].replace(f" {old.colour} ", f" {new.colour} ", 1)
        first, _, rest = phrase.partition(" ")
        if first.casefold() in ("a", "an"):
            phrase = f"{article(rest).capitalize() if first[0] == 'A' else article(rest)} {rest}"
        words = words[: span[0]] + phrase + words[span[1] :]
    return words


def noisy(rng: np.random.Generator, text: str, other: str) -> tuple[str, str]:
    """A wrong caption, and how it was made: `other`, `shuffled` or `cut`."""
    kind = ("other", "shuffled", "cut")[int(rng.integers(3))]
    words = text.rstrip(".").split(" ")
    if kind == "other" and other != text:
        return other, kind
    if kind == "cut" or len(words) < 3:
        return " ".join(words[: max(1, len(words) // int(rng.integers(2, 4)))]), "cut"
    shuffled = words
    while shuffled == words:
        shuffled = [words[i] for i in rng.permutation(len(words))]
    return " ".join(shuffled), "shuffled"
