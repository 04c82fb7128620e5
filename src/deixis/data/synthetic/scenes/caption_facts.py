"""How true a caption of a scene is, thing by thing, whatever words it is put in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from deixis.data.synthetic.scenes.hearing import Mention, heard
from deixis.types import Region

__all__ = ["SceneFacts", "caption_facts", "has_looks", "invented_at_recall", "noun_recall"]


class SceneFacts(NamedTuple):
    """What a caption says of the things of a scene, each from 0 to 1.

    Attributes:
        facts: F1 of mentions with a colour or a size. Precision is over such mentions, each as often as it says there
            are; recall over the things of the scene. A noun without looks is no false one.
        invented: the share of the nouns named that are not there; 0 where none is named.
        missed: the share of the nouns there that are not named.
    """

    facts: float
    invented: float
    missed: float


def has_looks(regions: Iterable[Region]) -> bool:
    """Whether captions can be checked: things with a category, whose colour and size are known."""
    each = list(regions)
    return bool(each) and all(r.category and "colour" in r.attributes and "size" in r.attributes for r in each)


def caption_facts(text: str, regions: Sequence[Region]) -> SceneFacts:
    """How true a caption is.

    Args:
        text: the caption.
        regions: the things of the scene, whose attributes hold `colour` and `size`.
    """
    mentions = heard(text).mentions
    claims: dict[tuple[str, str, str], int] = {}
    for each in mentions:
        if each.colour or each.size:
            key = (each.noun, each.colour, each.size)
            claims[key] = max(claims.get(key, 0), each.count, 1)
    said, true, covered = sum(claims.values()), 0, set[int]()
    for (noun, colour, size), count in claims.items():
        fitting = {i for i, region in enumerate(regions) if _fits(Mention(noun, colour, size), region)}
        true += min(count, len(fitting))
        covered |= set(sorted(fitting)[:count]) if count < len(fitting) else fitting
    named, there = {_noun(each, regions) for each in mentions}, {region.category for region in regions}
    precision, recall = true / said if said else 0.0, len(covered) / len(regions) if regions else 0.0
    return SceneFacts(
        2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        len(named - there) / len(named) if named else 0.0,
        len(there - named) / len(there) if there else 0.0,
    )


def noun_recall(texts: Sequence[str], scenes: Sequence[Sequence[Region]]) -> float:
    """The share of all nouns there, over all scenes, that are named.

    Args:
        texts: one caption a scene.
        scenes: the things of each.
    """
    there = [{region.category for region in regions} for regions in scenes]
    named = [{_noun(each, of) for each in heard(text).mentions} for text, of in zip(texts, scenes, strict=True)]
    return sum(len(some & all_) for some, all_ in zip(named, there, strict=True)) / max(1, sum(map(len, there)))


def invented_at_recall(texts: Sequence[str], scenes: Sequence[Sequence[Region]], recall: float) -> float:
    """The share of nouns named that are not there, up to a recall: who says less invents less, so that captions of
    several sources are compared at the recall of the one that says least.

    Nouns are read in the order of the captions: the first of all captions, then the second of all, and so on.

    Args:
        texts: one caption a scene.
        scenes: the things of each.
        recall: share of the nouns there at which reading stops; where it is never reached, all is read.
    """
    order = []
    for number, (text, regions) in enumerate(zip(texts, scenes, strict=True)):
        nouns = dict.fromkeys(_noun(each, regions) for each in heard(text).mentions)
        order += [(place, number, noun) for place, noun in enumerate(nouns)]
    there = [{region.category for region in regions} for regions in scenes]
    wanted, right, read = recall * sum(map(len, there)), 0, 0
    for _, number, noun in sorted(order, key=lambda each: each[:2]):
        if right >= wanted:
            break
        read += 1
        right += noun in there[number]
    return (read - right) / read if read else 0.0


def _noun(mention: Mention, regions: Sequence[Region]) -> str:
    """The category that is meant: a word before the noun that is no colour or size does not make it another thing."""
    last = mention.noun.split()[-1]
    there = {region.category for region in regions}
    return last if mention.noun not in there and last in there else mention.noun


def _fits(mention: Mention, region: Region) -> bool:
    """Whether a thing is as it is said to be."""
    looks = ((mention.colour, region.attributes["colour"]), (mention.size, region.attributes["size"]))
    return _noun(mention, (region,)) == region.category and all(said in ("", true) for said, true in looks)
