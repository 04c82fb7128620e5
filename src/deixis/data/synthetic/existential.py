"""Scenes whose expressions need a context that depends on the candidate: "the star next to a ring".

There are two or three of each of two nouns, and exactly one pair of both lies close together: its centres are at most
`NEAR` sides of the image apart, and those of all other pairs more than `FAR`. So "next to a ring" is true of one star,
whichever ring it is that it lies next to; no ring has a name of its own. Where one of the pair lies clearly above the
other, it is also "directly above a ring", and so on for all sides.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from deixis.data.synthetic.scenes import captions
from deixis.data.synthetic.scenes.config import SIDES, SceneConfig
from deixis.data.synthetic.scenes.cutouts import Cutout, size_of
from deixis.data.synthetic.scenes.drawing import PlacedCutout, Scene
from deixis.data.synthetic.scenes.expressions import RELATIONS, GroundTruth, position
from deixis.data.synthetic.scenes.layout import SceneStage, ThingFacts, ground_for
from deixis.data.synthetic.scenes.object_bank import assemble, colours_for, part
from deixis.data.synthetic.scenes.wording import article, describe
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.inputs.masks import encode_mask
from deixis.types import Phrase, Region, Sample, Source

__all__ = ["FAMILY", "FAR", "NEAR", "existential", "with_needed"]

FAMILY = "existential"
NEAR, FAR = 0.22, 0.32

_SHARES = (0.13, 0.16)
_EDGE, _CLOSEST = 0.09, 0.13
_PLACES, _SCENES = 60, 200
_FURTHER = 2
_SIDEWAYS = 0.5
"""Of the distance along: how far aside a thing may lie and still be directly above."""

_SIDES = {"above": (0.0, -1.0), "below": (0.0, 1.0), "left of": (-1.0, 0.0), "right of": (1.0, 0.0)}

Point = tuple[float, float]


def existential(
    seed: int = 0, count: int = 1000, *, split: str = "train", side: int = 160, config: SceneConfig | None = None
) -> Source:
    """Generates such scenes; a sample's regions are as those of `scenes`, and their phrases of the family
    `existential`. The region that a phrase speaks of is in `relates`.

    Args:
        seed: same seed, same scenes.
        count: how many.
        split: `train`, `val` or `test`.
        side: of the images, in pixels: 48 to 256.
        config: cast, nouns, splits, backgrounds and the share of tinted scenes are taken from it.

    Raises:
        DeixisError: the cast is not in the cache or holds fewer than two nouns, or a setting is out of range.
    """
    config = config or SceneConfig()
    if not SIDES[0] <= side <= SIDES[1]:
        raise DeixisError(f"Scenes with a side of {side} pixels are requested.", f"Ask for {SIDES[0]} to {SIDES[1]}.")
    if seed < 0 or count < 0:
        raise DeixisError(f"The seed is {seed} and the count {count}.", "Neither can be negative.")
    if "photo" in config.backgrounds:
        raise DeixisError("Photographs are no backgrounds here.", "Name patterns, such as 'plain white'.")
    stage = SceneStage(part(assemble(config), split, config.unseen), split, side, config)
    if len(stage.cast) < 2:
        raise DeixisError(f"The cast has {len(stage.cast)} noun for {split!r}, and two are needed.", "Name more nouns.")
    samples = tuple(_sample(stage, seed, index) for index in range(count))
    return Source(FAMILY, cache_dir("sets"), "captions", "generated", samples)


def _rng(stage: SceneStage, seed: int, index: int, purpose: str) -> np.random.Generator:
    key = (seed, index, zlib.crc32(f"{FAMILY} {stage.split} {purpose}".encode()))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def _sample(stage: SceneStage, seed: int, index: int) -> Sample:
    rng = _rng(stage, seed, index, "picture")
    for _ in range(_SCENES):
        items, cutouts = _arranged(rng, stage)
        facts = [_fact(number, *each, stage.side) for number, each in enumerate(zip(items, cutouts, strict=True))]
        if items and _is_clear(facts):
            break
    else:
        raise DeixisError(f"Things of these shapes find no place at {stage.side} pixels.", "Use larger images.")
    ground = ground_for(_rng(stage, seed, index, "ground"), facts[0].noun, stage)
    scene = Scene(f"{FAMILY} {stage.split} {seed}-{index}", stage.side, ground, tuple(items))
    text = captions.short_caption(
        _rng(stage, seed, index, "caption"), GroundTruth(facts), ground.name, stage.config.named
    )
    layers = torch.from_numpy(scene.layers()) if stage.config.masks else None
    regions = tuple(_region(facts, number, text.spans.get(number, ()), layers) for number in range(len(facts)))
    return Sample(
        id=f"{FAMILY}/{stage.split}/{seed}/{index:06d}",
        image=scene,
        captions=(text.text,),
        label=facts[0].noun,
        groups=(f"noun:{facts[0].noun}",),
        extra={"background": ground.name},
        split=stage.split,
        regions=regions,
    )


# --- where things lie -------------------------------------------------------------------------------------------------


def _arranged(rng: np.random.Generator, stage: SceneStage) -> tuple[list[PlacedCutout], list[Cutout]]:
    """The things of a scene, those of the close pair first of their nouns; none where they found no place."""
    nouns = [stage.nouns[place] for place in rng.permutation(len(stage.nouns))]
    counts = rng.integers(2, 4, 2).tolist()
    further = nouns[2 : 2 + int(rng.integers(0, _FURTHER + 1))]
    cast = [*(noun for noun, many in zip(nouns, counts, strict=False) for _ in range(many)), *further]
    tinted = bool(rng.random() < stage.config.tinted)
    cutouts, items, centres = [], list[PlacedCutout](), list[Point]()
    pair = _pair(rng)
    for number, noun in enumerate(cast):
        members = stage.cast[noun]
        cutout = members[int(rng.integers(len(members)))]
        colours = colours_for(noun, stage.split, stage.config.unseen)
        colour = colours[int(rng.integers(len(colours)))] if tinted else ""
        longest = round(float(rng.uniform(*_SHARES)) * stage.side)
        fixed = pair[0] if number == 0 else pair[1] if number == counts[0] else None
        rivals = [centre for other, centre in zip(cast, centres, strict=False) if {other, noun} == set(nouns[:2])]
        placed = _placed(rng, stage.side, (cutout, longest, colour), fixed, (items, rivals))
        if placed is None:
            return [], []
        cutouts.append(cutout)
        items.append(placed[0])
        centres.append(placed[1])
    return items, cutouts


def _pair(rng: np.random.Generator) -> tuple[Point, Point]:
    """Centres that are near, half of the time straight along a side of the image."""
    angle = float(rng.uniform(0, 2 * math.pi))
    if rng.random() < 0.5:
        angle = round(angle / (math.pi / 2)) * (math.pi / 2)
    apart = float(rng.uniform(_CLOSEST, NEAR - 0.01))
    x, y = rng.uniform(_EDGE + NEAR, 1 - _EDGE - NEAR, 2).tolist()
    return (x, y), (x + apart * math.cos(angle), y + apart * math.sin(angle))


def _placed(
    rng: np.random.Generator,
    side: int,
    what: tuple[Cutout, int, str],
    fixed: Point | None,
    there: tuple[Sequence[PlacedCutout], Sequence[Point]],
) -> tuple[PlacedCutout, Point] | None:
    """A thing where it meets no other, and, unless its place is fixed, far from what it could be next to."""
    (cutout, longest, colour), (items, rivals) = what, there
    size, flip = size_of(cutout.picture, longest), bool(rng.random() < 0.5)
    places = [fixed] if fixed else [(x, y) for x, y in rng.uniform(_EDGE, 1 - _EDGE, (_PLACES, 2)).tolist()]
    for x, y in places:
        left, top = round(x * side - size[0] / 2), round(y * side - size[1] / 2)
        item = PlacedCutout(cutout.picture, left, top, size, flip, colour)
        inside = left >= 0 and top >= 0 and left + size[0] <= side and top + size[1] <= side
        far = fixed or all(math.dist((x, y), other) > FAR + 0.01 for other in rivals)
        if inside and far and not any(_meet(item, other) for other in items):
            return item, (x, y)
    return None


def _meet(one: PlacedCutout, other: PlacedCutout) -> bool:
    across = one.x < other.x + other.size[0] and other.x < one.x + one.size[0]
    return across and one.y < other.y + other.size[1] and other.y < one.y + one.size[1]


def _fact(number: int, item: PlacedCutout, cutout: Cutout, side: int) -> ThingFacts:
    """Nothing covers it, so that all of it is visible."""
    solid = item.solid()
    columns, rows = np.flatnonzero(solid.any(0)), np.flatnonzero(solid.any(1))
    x0, x1, y0, y1 = (int(each) for each in (columns[0], columns[-1] + 1, rows[0], rows[-1] + 1))
    box = ((item.x + x0) / side, (item.y + y0) / side, (item.x + x1) / side, (item.y + y1) / side)
    return ThingFacts(cutout, "small", item.colour, item.flip, box, box, 1.0, number)


def _is_clear(facts: Sequence[ThingFacts]) -> bool:
    """Whether exactly one pair of the two nouns is near, and all others are far."""
    distances = sorted(
        math.dist((a.x, a.y), (b.x, b.y)) for a, b in itertools.combinations(facts, 2) if _differ(facts, a, b)
    )
    return distances[0] <= NEAR and distances[1] > FAR


def _differ(facts: Sequence[ThingFacts], one: ThingFacts, other: ThingFacts) -> bool:
    """Whether they are of the two nouns of which there are several, one of each."""
    several = {fact.noun for fact in facts if sum(each.noun == fact.noun for each in facts) > 1}
    return one.noun != other.noun and {one.noun, other.noun} <= several


# --- what is said of them ---------------------------------------------------------------------------------------------


def _region(
    facts: Sequence[ThingFacts], number: int, spans: Sequence[tuple[int, int]], layers: torch.Tensor | None
) -> Region:
    fact, phrases = facts[number], tuple(_phrases(facts, number))
    attributes = {
        "size": fact.size,
        "colour": fact.colour,
        "position": position(fact),
        "style": fact.cutout.style,
        "count": sum(each.noun == fact.noun for each in facts),
        "visible": fact.visible,
        "extent": fact.extent,
        "layer": fact.layer,
        "flipped": fact.flip,
        "cutout": fact.cutout.name,
        "families": (FAMILY,) * len(phrases),
        "needed": (True,) * len(phrases),
    }
    mask = None if layers is None else encode_mask(layers == fact.layer)
    return Region(fact.box, fact.noun, phrases, tuple(spans), mask, attributes)


def _phrases(facts: Sequence[ThingFacts], number: int) -> Iterator[Phrase]:
    """What is said of a thing of the close pair."""
    fact = facts[number]
    for place, other in enumerate(facts):
        if not _differ(facts, fact, other) or math.dist((fact.x, fact.y), (other.x, other.y)) > NEAR:
            continue
        anchor = f"{article(other.noun)} {other.noun}"
        yield Phrase(f"the {fact.noun} next to {anchor}", (place,))
        across, down = fact.x - other.x, fact.y - other.y
        for words, (x, y) in _SIDES.items():
            along, aside = across * x + down * y, abs(across * y) + abs(down * x)
            if along > 0 and aside < _SIDEWAYS * along:
                yield Phrase(f"the {fact.noun} directly {words} {anchor}", (place,))


def with_needed(source: Source) -> Source:
    """The same scenes, whose regions tell in `attributes["needed"]`, for each phrase, whether it takes the relation: of
    the family `relation`, whether others than the two things named fit what stands in front of it; of `existential`,
    always; of all others, never.

    Args:
        source: of `scenes` or `existential`.
    """
    samples = tuple(
        dataclasses.replace(sample, regions=tuple(_with_needed(sample.regions, each) for each in sample.regions))
        for sample in source.samples
    )
    return dataclasses.replace(source, samples=samples)


def _with_needed(regions: Sequence[Region], region: Region) -> Region:
    families = tuple(region.attributes.get("families", ())) or ("",) * len(region.phrases)
    needed = tuple(
        family == FAMILY or (family == "relation" and _has_rivals(regions, region, phrase))
        for phrase, family in zip(region.phrases, families, strict=True)
    )
    return dataclasses.replace(region, attributes={**region.attributes, "needed": needed})


def _has_rivals(regions: Sequence[Region], region: Region, phrase: Phrase) -> bool:
    spoken = next(words for ways in RELATIONS.values() for words in reversed(ways) if f" {words} the " in phrase.text)
    head = phrase.text.partition(f" {spoken} the ")[0]
    named = [regions[place] for place in phrase.relates]
    return any(head in _heads(each) for each in regions if each is not region and each not in named)


def _heads(region: Region) -> Iterator[str]:
    """All that a thing could be called, without its place."""
    colour, size = str(region.attributes["colour"]), str(region.attributes["size"])
    for spoken_colour, spoken_size in itertools.product(dict.fromkeys(("", colour)), dict.fromkeys(("", size))):
        yield f"the {describe(region.category, spoken_colour, spoken_size)}"
