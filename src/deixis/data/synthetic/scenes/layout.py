"""Which things a scene holds and where they stand; the facts about each."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from deixis.data.synthetic.scenes.backgrounds import Ground
from deixis.data.synthetic.scenes.config import SIZES, SceneConfig
from deixis.data.synthetic.scenes.cutouts import Cutout, size_of
from deixis.data.synthetic.scenes.drawing import PlacedCutout, Scene
from deixis.data.synthetic.scenes.object_bank import Cast, colours_for, home
from deixis.errors import DeixisError

__all__ = ["SceneStage", "ThingFacts", "ThingPlan", "arrange", "box_of", "ground_for", "plan"]

_TRIES = 30  # places that are tried for a thing before all are taken up again
_ROUNDS = 12  # times that all are taken up again before some are left out


@dataclasses.dataclass(frozen=True)
class SceneStage:
    """What all scenes of a source share.

    Attributes:
        cast: the cut-outs by noun, of this split.
        split: its name.
        side: of the images, in pixels.
        config: the settings.
        photos: names of the files that may be backgrounds.
    """

    cast: Cast
    split: str
    side: int
    config: SceneConfig
    photos: tuple[Path, ...] = ()

    @functools.cached_property
    def nouns(self) -> tuple[str, ...]:
        """Those of the cast, in order."""
        return tuple(self.cast)


@dataclasses.dataclass(frozen=True)
class ThingPlan:
    """A thing that is to be placed."""

    cutout: Cutout
    size: str
    share: float
    colour: str
    flip: bool


@dataclasses.dataclass(frozen=True)
class ThingFacts:
    """The facts about a thing in a scene.

    Attributes:
        cutout: what was pasted.
        size: its class of size.
        colour: its tint, or empty.
        flip: mirrored left to right.
        box: x0 y0 x1 y1 of its visible pixels, from 0 to 1.
        extent: x0 y0 x1 y1 of all its pixels.
        visible: the share of its pixels that is not covered.
        layer: how many things lie below it.
    """

    cutout: Cutout
    size: str
    colour: str
    flip: bool
    box: tuple[float, float, float, float]
    extent: tuple[float, float, float, float]
    visible: float
    layer: int

    @functools.cached_property
    def noun(self) -> str:
        """What it is."""
        return self.cutout.noun

    @functools.cached_property
    def x(self) -> float:
        """The middle of its box, from left to right."""
        return (self.box[0] + self.box[2]) / 2

    @functools.cached_property
    def y(self) -> float:
        """The middle of its box, from top to bottom."""
        return (self.box[1] + self.box[3]) / 2

    @functools.cached_property
    def longest(self) -> float:
        """The longer side of its extent."""
        return max(self.extent[2] - self.extent[0], self.extent[3] - self.extent[1])


def plan(rng: np.random.Generator, stage: SceneStage) -> list[ThingPlan]:
    """The things of a scene. The first noun is there 1 to `repeats` times, evenly; all others once.

    Sizes are even over the classes whatever their number, so that no answer about a size is likelier than another.
    """
    config, nouns = stage.config, stage.nouns
    low, high = config.objects
    first = int(rng.integers(1, min(config.repeats, high) + 1))
    total = int(rng.integers(max(low, first), high + 1))
    others = min(total - first, len(nouns) - 1)
    drawn = [nouns[i] for i in rng.permutation(len(nouns))[: others + 1]]
    cast = [drawn[0]] * first + drawn[1:]
    tinted = bool(rng.random() < config.tinted)
    sizes = _sizes(rng, len(cast))
    plans = []
    for noun, size in zip(cast, sizes, strict=True):
        members, colours = stage.cast[noun], colours_for(noun, stage.split, config.unseen)
        cutout = members[int(rng.integers(len(members)))]
        colour = colours[int(rng.integers(len(colours)))] if tinted else ""
        share = config.scale * float(rng.uniform(*SIZES[size]))
        plans.append(ThingPlan(cutout, size, share, colour, bool(rng.random() < 0.5)))
    return plans


def _sizes(rng: np.random.Generator, count: int) -> list[str]:
    """Up to three things have any size; of more, each class has its turn, so that not all are large."""
    names = list(SIZES)
    if count <= 3:
        return [names[int(i)] for i in rng.integers(0, 3, count)]
    turns = [names[int(i)] for _ in range(-(-count // 3)) for i in rng.permutation(3)][:count]
    return [turns[int(i)] for i in rng.permutation(count)]


def ground_for(rng: np.random.Generator, noun: str, stage: SceneStage) -> Ground:
    """The background: with probability `rho` the noun's own, else any, evenly."""
    names = stage.config.backgrounds
    tied, free = bool(rng.random() < stage.config.rho), int(rng.integers(len(names)))
    name = names[home(noun, names) if tied else free]
    pattern, _, colour = name.partition(" ")
    seed, number = int(rng.integers(2**31)), int(rng.integers(2**31))
    photo = stage.photos[number % len(stage.photos)] if pattern == "photo" else None
    return Ground(pattern, colour, seed, photo)


def arrange(
    rng: np.random.Generator, plans: Sequence[ThingPlan], ground: Ground, name: str, stage: SceneStage
) -> tuple[Scene, list[ThingFacts]]:
    """Puts things where none is covered more than `overlap`; what finds no place after many tries is left out."""
    side, overlap = stage.side, stage.config.overlap
    placed: list[tuple[ThingPlan, PlacedCutout]] = []
    for attempt in range(_ROUNDS):
        order = [plans[i] for i in rng.permutation(len(plans))]
        if attempt >= _ROUNDS // 2:
            order.sort(key=lambda each: -each.share)
        found = _placed(rng, order, side, overlap)
        placed = max(placed, found, key=len)
        if len(placed) == len(plans):
            break
    if not placed:
        raise DeixisError(f"Nothing of {plans[0].cutout.name} is visible at {side} pixels.", "Use larger images.")
    scene = Scene(name, side, ground, tuple(item for _, item in placed))
    facts = _facts(scene, [each for each, _ in placed])
    first = plans[0].cutout.noun
    return scene, sorted(facts, key=lambda fact: fact.noun != first)


def _placed(
    rng: np.random.Generator, plans: Sequence[ThingPlan], side: int, overlap: float
) -> list[tuple[ThingPlan, PlacedCutout]]:
    topmost = np.full((side, side), len(plans), np.int8)
    areas, left = np.zeros(len(plans), int), np.zeros(len(plans), int)
    placed: list[tuple[ThingPlan, PlacedCutout]] = []
    for each in plans:
        width, height = size_of(each.cutout.picture, round(each.share * side))
        solid = PlacedCutout(each.cutout.picture, 0, 0, (width, height), each.flip).solid()
        places = rng.random((_TRIES, 2)) * (side - width + 1, side - height + 1)
        for x, y in places.astype(int).tolist() if solid.any() else ():
            window = topmost[y : y + height, x : x + width]
            hidden = np.bincount(window[solid], minlength=len(plans))[: len(plans)]
            if (left - hidden >= (1 - overlap) * areas)[hidden > 0].all() and (left - hidden > 0)[hidden > 0].all():
                number = len(placed)
                window[solid] = number
                left -= hidden
                areas[number] = left[number] = solid.sum()
                placed.append((each, PlacedCutout(each.cutout.picture, x, y, (width, height), each.flip, each.colour)))
                break
    return placed


def _facts(scene: Scene, plans: Sequence[ThingPlan]) -> list[ThingFacts]:
    layers, side, facts = scene.layers(), scene.side, []
    for number, (each, item) in enumerate(zip(plans, scene.items, strict=True)):
        solid = item.solid()
        window = layers[item.y : item.y + item.size[1], item.x : item.x + item.size[0]] == number
        box, extent = (box_of(pixels, side, (item.x, item.y)) for pixels in (window, solid))
        share = float(window.sum() / solid.sum())
        facts.append(ThingFacts(each.cutout, each.size, each.colour, each.flip, box, extent, share, number))
    return facts


def box_of(
    pixels: Bool[np.ndarray, "H W"], side: int, corner: tuple[int, int] = (0, 0)
) -> tuple[float, float, float, float]:
    """x0 y0 x1 y1 around pixels, from 0 to 1.

    Args:
        pixels: at least one of a scene's, or of a piece of it.
        side: of the scene.
        corner: the left upper pixel of the piece: x, y.
    """
    columns, rows = np.flatnonzero(pixels.any(0)), np.flatnonzero(pixels.any(1))
    x0, x1, y0, y1 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    x, y = corner
    return (x + int(x0)) / side, (y + int(y0)) / side, (x + int(x1)) / side, (y + int(y1)) / side
