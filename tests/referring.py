"""What a referring expression means, told by rules that know nothing of those by which scenes are described."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from deixis.data.synthetic.scenes.config import COLOURS
from deixis.types import Region

__all__ = ["SPOKEN", "centre", "lies", "longest", "looking", "meant"]

_LOOK = r"(?:(small|medium-sized|large) )?(?:(" + "|".join(COLOURS) + r") )?([a-z]+)"
_PLACE: dict[str, Callable[[Region], bool]] = {
    "on the left": lambda region: centre(region)[0] < 0.5,
    "on the right": lambda region: centre(region)[0] > 0.5,
    "at the top": lambda region: centre(region)[1] < 0.5,
    "at the bottom": lambda region: centre(region)[1] > 0.5,
}
_MOST: dict[str, Callable[[Region], float]] = {
    "leftmost": lambda region: centre(region)[0],
    "rightmost": lambda region: -centre(region)[0],
    "topmost": lambda region: centre(region)[1],
    "lowest": lambda region: -centre(region)[1],
    "largest": lambda region: -longest(region),
    "smallest": lambda region: longest(region),
}
_LIES: dict[str, Callable[[Region, Region], bool]] = {
    "left of": lambda one, other: centre(one)[0] < centre(other)[0],
    "right of": lambda one, other: centre(one)[0] > centre(other)[0],
    "above": lambda one, other: centre(one)[1] < centre(other)[1],
    "below": lambda one, other: centre(one)[1] > centre(other)[1],
}
_SAME_AS = {
    "to the left of": "left of",
    "to the right of": "right of",
    "higher up than": "above",
    "lower down than": "below",
}
SPOKEN = (*_SAME_AS, *_LIES)
"""Ways to say a relation, the longer first."""


def centre(region: Region) -> tuple[float, float]:
    x0, y0, x1, y1 = region.box
    return (x0 + x1) / 2, (y0 + y1) / 2


def longest(region: Region) -> float:
    x0, y0, x1, y1 = region.attributes["extent"]
    return max(x1 - x0, y1 - y0)


def looking(regions: Sequence[Region], words: str) -> set[int]:
    match = re.fullmatch(f"the {_LOOK}", words)
    assert match, words
    size, colour, noun = match.groups()
    return {
        i
        for i, region in enumerate(regions)
        if region.category == noun
        and colour in (None, region.attributes["colour"])
        and size in (None, region.attributes["size"].replace("medium", "medium-sized"))
    }


def meant(regions: Sequence[Region], words: str) -> set[int]:
    """The regions that an expression is true of."""
    for most, measure in _MOST.items():
        if words.startswith(f"the {most} "):
            same = looking(regions, words.replace(f"{most} ", ""))
            least = min(measure(regions[i]) for i in same)
            return {i for i in same if measure(regions[i]) == least}
    for place, holds in _PLACE.items():
        if words.endswith(f" {place}"):
            return {i for i in looking(regions, words.removesuffix(f" {place}")) if holds(regions[i])}
    for spoken in SPOKEN:
        if f" {spoken} " in words:
            first, _, second = words.partition(f" {spoken} ")
            [anchor] = looking(regions, second)
            return {
                i
                for i in looking(regions, first) - {anchor}
                if _LIES[_SAME_AS.get(spoken, spoken)](regions[i], regions[anchor])
            }
    return looking(regions, words)


def lies(regions: Sequence[Region], one: int, spoken: str, other: int) -> bool:
    """Whether one region lies so to the other."""
    return _LIES[_SAME_AS.get(spoken, spoken)](regions[one], regions[other])
