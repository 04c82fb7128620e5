"""What can be said of one thing in a scene and of no other: its appearance, its place, by comparison, by relation.

Words such as `left of` are not sharp. Each is therefore true, false, or neither for a thing, and an expression is used
only if it is true of one thing and false of all others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from deixis.data.synthetic.scenes.layout import ThingFacts
from deixis.data.synthetic.scenes.wording import describe
from deixis.types import Phrase

__all__ = ["FAMILIES", "RELATIONS", "Description", "GroundTruth", "expressions", "position"]

FAMILIES = ("unary", "comparison", "relation")

CLEAR = 0.12
"""The distance of two centres, in sides of the image, for one to be left of the other or above it. At 0 or less it is
not so; between the two nothing is said."""

RELATIONS: Mapping[str, tuple[str, ...]] = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "higher up than"),
    "below": ("below", "lower down than"),
}
"""Relation -> how it is said; the first is the plainest."""

_PLACES = {
    "on the left": lambda fact: fact.x,
    "on the right": lambda fact: 1 - fact.x,
    "at the top": lambda fact: fact.y,
    "at the bottom": lambda fact: 1 - fact.y,
}
_EXTREMES: Mapping[str, tuple[Callable[[ThingFacts], float], float]] = {
    "leftmost": (lambda fact: fact.x, 0.06),
    "rightmost": (lambda fact: -fact.x, 0.06),
    "topmost": (lambda fact: fact.y, 0.06),
    "lowest": (lambda fact: -fact.y, 0.06),
    "largest": (lambda fact: -np.log(fact.longest), 0.2),
    "smallest": (lambda fact: np.log(fact.longest), 0.2),
}


@dataclasses.dataclass(frozen=True)
class Description:
    """A noun with adjectives.

    Attributes:
        noun: what it is.
        colour: its tint, or empty where nothing is said of it.
        size: its class of size, or empty.
    """

    noun: str
    colour: str = ""
    size: str = ""

    @property
    def words(self) -> str:
        """Without article."""
        return describe(self.noun, self.colour, self.size)

    def fits(self, fact: ThingFacts) -> bool:
        """Whether a thing is such a one."""
        return fact.noun == self.noun and self.colour in ("", fact.colour) and self.size in ("", fact.size)


class GroundTruth:
    """The things of a scene, and what follows from them.

    Attributes:
        facts: of each thing.
        descriptions: of each thing, all descriptions that fit it; the noun alone is the first.
        names: of each thing, the descriptions that fit it alone, the shortest first.
        holds: (relation, one, other) -> whether it is so; None where it can't be said.
    """

    def __init__(self, facts: Sequence[ThingFacts]) -> None:
        self.facts = tuple(facts)
        self.descriptions = [_descriptions(fact) for fact in facts]
        self.names = [
            [each for each in descriptions if sum(map(each.fits, facts)) == 1] for descriptions in self.descriptions
        ]
        self.holds = {
            (name, i, j): so
            for i, one in enumerate(facts)
            for j, other in enumerate(facts)
            if i != j
            for name, so in _relations(one, other).items()
        }

    def true_relations(self) -> list[tuple[str, int, int]]:
        """Those that are so, between things that have a name."""
        return [key for key, so in self.holds.items() if so and self.names[key[1]] and self.names[key[2]]]


def _descriptions(fact: ThingFacts) -> list[Description]:
    plain, sized = Description(fact.noun), Description(fact.noun, size=fact.size)
    if not fact.colour:
        return [plain, sized]
    return [plain, Description(fact.noun, fact.colour), sized, Description(fact.noun, fact.colour, fact.size)]


def _relations(one: ThingFacts, other: ThingFacts) -> dict[str, bool | None]:
    """Whether `one` is left of, right of, above and below `other`."""
    across, down = other.x - one.x, other.y - one.y
    return {
        "left": _is_so(across, down),
        "right": _is_so(-across, down),
        "above": _is_so(down, across),
        "below": _is_so(-down, across),
    }


def _is_so(along: float, aside: float) -> bool | None:
    if along <= 0:
        return False
    return True if along > CLEAR and 2 * along > abs(aside) else None


def position(fact: ThingFacts) -> str:
    """Where its middle lies, by thirds of the image: `top left`, `left`, `centre`..."""
    column = ("left", "", "right")[min(2, int(fact.x * 3))]
    row = ("top", "", "bottom")[min(2, int(fact.y * 3))]
    return f"{row} {column}".strip() or "centre"


def expressions(rng: np.random.Generator, truth: GroundTruth, number: int, most: int) -> list[tuple[Phrase, str]]:
    """Referring expressions for one thing, each with its family: one of each family by turns, without repetition.

    Args:
        rng: draws which are taken.
        truth: all things in the scene.
        number: of the thing.
        most: how many at the most.
    """
    found = {
        "unary": list(_unary(truth, number)),
        "comparison": list(_compared(truth, number)),
        "relation": list(_related(rng, truth, number)),
    }
    chosen: list[tuple[Phrase, str]] = []
    while len(chosen) < most and any(found.values()):
        for family, phrases in found.items():
            if phrases and len(chosen) < most:
                chosen.append((phrases.pop(int(rng.integers(len(phrases)))), family))
    return chosen


def _others(truth: GroundTruth, number: int) -> list[ThingFacts]:
    """The other things of its noun."""
    noun = truth.facts[number].noun
    return [fact for i, fact in enumerate(truth.facts) if i != number and fact.noun == noun]


def _unary(truth: GroundTruth, number: int) -> Iterator[Phrase]:
    fact, others = truth.facts[number], _others(truth, number)
    for each in truth.names[number]:
        yield Phrase(f"the {each.words}")
    for words, measure in _PLACES.items():
        if measure(fact) < 0.35 and all(measure(other) > 0.5 for other in others):
            yield Phrase(f"the {fact.noun} {words}")


def _compared(truth: GroundTruth, number: int) -> Iterator[Phrase]:
    fact, others = truth.facts[number], _others(truth, number)
    for word, (measure, gap) in _EXTREMES.items() if others else ():
        if measure(fact) + gap < min(map(measure, others)):
            yield Phrase(f"the {word} {fact.noun}")


def _related(rng: np.random.Generator, truth: GroundTruth, number: int) -> Iterator[Phrase]:
    """`the red bird left of the dog`; one that other birds would fit but for the relation, where there is one."""
    needed: list[Phrase] = []
    spare: list[Phrase] = []
    for anchor, names in enumerate(truth.names):
        for name, spoken in RELATIONS.items():
            if not names or not truth.holds.get((name, number, anchor)):
                continue
            words = f"{spoken[int(rng.integers(len(spoken)))]} the {names[0].words}"
            for each in truth.descriptions[number][:2]:
                rivals = [i for i, fact in enumerate(truth.facts) if i not in (number, anchor) and each.fits(fact)]
                if all(truth.holds[name, i, anchor] is False for i in rivals):
                    (needed if rivals else spare).append(Phrase(f"the {each.words} {words}", (anchor,)))
    yield from needed or spare[:2]
